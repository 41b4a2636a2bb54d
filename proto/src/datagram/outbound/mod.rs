//! What is sent again until it is acknowledged: frames of reliable lanes, from datagram to datagram.
//!
//! A frame is in two lists. Its lane's, in the order of numbers: the first one is the oldest that is not settled. And one of:
//! the frames of the datagram that carries it, its lane's queue of those to be sent again, or what the owner is to be told
//! about. No clock decides anything here; the session says what is lost.

mod lists;
mod settle;
mod slot;

use super::loss::RangeLost;
use super::received::Span;
use super::sent::{Fate, FrameIndex, NO_FRAME, Sent, SentSlot, UNRELIABLE_PER_DATAGRAM, Unreliable};
use crate::header::seq_after;
use crate::lane::sequencer::forward;
use crate::limits::LANES_MAX;
use crate::time::Instant;
use lists::{Chain, Queue};
use settle::Settling;
use slot::Place;
pub use slot::{Carried, Content, FrameSlot, Outcome, PayloadId, Settled};

/// One lane's part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Lane {
    /// The number that the next new frame gets.
    next_seq: u32,
    /// What is not settled, in the order of numbers.
    unsettled: Chain,
    /// What is to be sent again.
    again: Queue,
    /// A LOST that has more to say than the window lets it; or none.
    waiting: FrameIndex,
    /// Bytes of the fragmented messages that are not settled.
    partial_bytes: u64,
    /// Bytes of a full fragment's frame of the message that was taken last.
    full_bytes: u16,
    /// The message that was taken last was given up before all of its fragments were taken.
    skipping: bool,
}

/// What the datagram that is being filled carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Open {
    frames: Queue,
    credit: u16,
    unreliable: [Unreliable; UNRELIABLE_PER_DATAGRAM],
}

const EMPTY: Open = Open {
    frames: Queue::EMPTY,
    credit: 0,
    unreliable: [Unreliable { lane: 0, frames: 0, bytes: 0 }; UNRELIABLE_PER_DATAGRAM],
};

/// Why a lane's next new frame has to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Full {
    /// Too many numbers are not settled.
    Window,
    /// There are no places for frames left.
    Places,
    /// Too many bytes of fragmented messages are not settled.
    Partial,
}

/// The frames under way, in the caller's storage: one place a frame, one a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outbound<F, P> {
    frames: F,
    free: Queue,
    free_count: usize,
    told: Queue,
    lanes: [Lane; LANES_MAX],
    window: u32,
    sent: Sent<P>,
    open: Open,
}

/// What an acknowledged datagram says besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AckedDatagram {
    /// Where it stood until now.
    pub fate: Fate,
    /// Its number.
    pub number: u32,
    /// When it was sent.
    pub sent: Instant,
    /// Its bytes.
    pub bytes: u16,
    /// What it carried of unreliable lanes.
    pub unreliable: [Unreliable; UNRELIABLE_PER_DATAGRAM],
}

impl From<SentSlot> for AckedDatagram {
    fn from(slot: SentSlot) -> Self {
        let SentSlot { number, sent, bytes, fate, unreliable, .. } = slot;
        Self { fate, number, sent, bytes, unreliable }
    }
}

impl<F, P> Outbound<F, P>
where
    F: AsRef<[FrameSlot]> + AsMut<[FrameSlot]>,
    P: AsRef<[SentSlot]> + AsMut<[SentSlot]>,
{
    /// Nothing is under way. Lanes number their frames from `first` on, and have at most `window` numbers unsettled.
    ///
    /// # Panics
    /// With 65,535 places for frames or more.
    pub fn new(mut frames: F, datagrams: P, first: u32, window: u32) -> Self {
        let count = frames.as_ref().len();
        assert!(count < usize::from(NO_FRAME), "{count} places are more than an index can tell apart");
        let mut free = Queue::EMPTY;
        for index in 0..count {
            free.push_back(frames.as_mut(), index as FrameIndex);
        }
        let lane = Lane {
            next_seq: first,
            unsettled: Chain::EMPTY,
            again: Queue::EMPTY,
            waiting: NO_FRAME,
            partial_bytes: 0,
            full_bytes: 0,
            skipping: false,
        };
        Self {
            frames,
            free,
            free_count: count,
            told: Queue::EMPTY,
            lanes: [lane; LANES_MAX],
            window,
            sent: Sent::new(datagrams),
            open: EMPTY,
        }
    }

    /// The datagrams under way.
    pub const fn sent(&self) -> &Sent<P> {
        &self.sent
    }

    /// The number that the next new frame of `lane` gets.
    pub const fn next_seq(&self, lane: u8) -> u32 {
        self.lanes[lane as usize].next_seq
    }

    /// The oldest frame of `lane` that is not settled.
    pub fn oldest_unsettled(&self, lane: u8) -> Option<&FrameSlot> {
        self.lanes[usize::from(lane)].unsettled.first().map(|index| self.slot(index))
    }

    /// Whether a datagram that is waited for can be sent.
    pub fn has_room_for_datagram(&mut self, now: Instant) -> bool {
        self.sent.has_room(now)
    }

    /// Whether a new frame of `lane` can be sent. Lanes of class `n` leave `n` sixteenths of the places free for those before
    /// them. A frame that begins a fragmented message of `begins` bytes waits until no more than `partial_bytes_max`
    /// are under way, or no other message.
    pub fn check_room(&self, lane: u8, class: u8, begins: Option<u32>, partial_bytes_max: u64) -> Result<(), Full> {
        let at = &self.lanes[usize::from(lane)];
        if self.oldest_unsettled(lane).is_some() && self.room_from(lane, at.next_seq) == 0 {
            return Err(Full::Window);
        }
        if self.free_count <= self.frames.as_ref().len() * usize::from(class) / 16 {
            return Err(Full::Places);
        }
        let more = begins.map_or(0, |total_len| at.partial_bytes.saturating_add(u64::from(total_len)));
        if at.partial_bytes > 0 && more > partial_bytes_max { Err(Full::Partial) } else { Ok(()) }
    }

    /// Numbers from `seq` on that the window of `lane`, which has something unsettled, has room for. It begins with the first
    /// number that the peer may not have, so what it has room for is at least what was ever sent.
    fn room_from(&self, lane: u8, seq: u32) -> u32 {
        let oldest = self.oldest_unsettled(lane).map_or(seq, FrameSlot::first_missing);
        match forward(oldest, seq) {
            Some(ahead) => self.window.saturating_sub(ahead),
            None => self.window + forward(seq, oldest).unwrap_or_default(),
        }
    }

    /// Whether the fragment that `lane` would send next belongs to a message that was given up: its owner drops it.
    pub fn skips(&mut self, lane: u8, fragment_index: Option<u16>) -> bool {
        let at = &mut self.lanes[usize::from(lane)];
        at.skipping &= fragment_index.is_some_and(|index| index > 0);
        at.skipping
    }

    /// Puts a new frame into the datagram that is being filled; returns its number.
    ///
    /// # Panics
    /// Without room for it.
    pub fn add_new(&mut self, now: Instant, lane: u8, carried: Carried) -> u32 {
        let frames = self.frames.as_mut();
        let index = self.free.pop_front(frames);
        assert!(index != NO_FRAME, "the caller asks whether there is a place for another frame");
        self.free_count -= 1;
        let at = &mut self.lanes[usize::from(lane)];
        let seq = at.next_seq;
        at.next_seq = seq_after(seq, 1);
        if let Some(frag) = carried.frag {
            at.partial_bytes += if frag.index == 0 { u64::from(frag.total_len) } else { 0 };
        }
        if !carried.is_last() {
            at.full_bytes = carried.frame_bytes();
        }
        frames[usize::from(index)] = FrameSlot {
            content: Content::Frame(carried),
            lane,
            seq,
            first_sent: now,
            sends: 1,
            place: Place::Open,
            full_bytes: at.full_bytes,
            ..FrameSlot::default()
        };
        at.unsettled.push_back(frames, index);
        self.open.frames.push_back(frames, index);
        seq
    }

    /// The frame of `lane` that is to be sent again next.
    pub fn again(&self, lane: u8) -> Option<&FrameSlot> {
        self.lanes[usize::from(lane)].again.first().map(|index| self.slot(index))
    }

    /// What the LOST that `lane` is to send next says, if it is one: as much as the window has room for.
    pub fn lost_again(&self, lane: u8) -> Option<RangeLost> {
        let Content::Lost { lost, .. } = self.again(lane)?.content else { return None };
        let count = self.room_from(lane, lost.first).min(lost.count);
        if count == lost.count {
            return Some(lost);
        }
        // A part: the messages are counted with the last one, which nobody can have received.
        let sent = lost.sent.min(count);
        Some(RangeLost { count, messages: 0, sent, last_bytes: lost.frame_bytes, ..lost })
    }

    /// Puts that frame into the datagram that is being filled.
    ///
    /// # Panics
    /// If there is none.
    pub fn add_again(&mut self, lane: u8) {
        let says = self.lost_again(lane).map_or(0, |lost| lost.count);
        let frames = self.frames.as_mut();
        let index = self.lanes[usize::from(lane)].again.pop_front(frames);
        let slot = &mut frames[usize::from(index)];
        slot.sends = slot.sends.saturating_add(1);
        slot.place = Place::Open;
        if let Content::Lost { said, .. } = &mut slot.content {
            *said = says;
        }
        self.open.frames.push_back(frames, index);
    }

    /// Whether a frame of an unreliable lane may be put into the datagram that is being filled.
    pub fn takes_unreliable(&self, lane: u8) -> bool {
        self.open.unreliable.iter().any(|place| place.lane == lane || place.lane == 0)
    }

    /// Notes a frame of an unreliable lane in the datagram that is being filled.
    pub fn add_unreliable(&mut self, lane: u8, frame_bytes: u16) {
        let place = self.open.unreliable.iter_mut().find(|place| place.lane == lane || place.lane == 0);
        debug_assert!(place.is_some(), "the caller asks whether lane {lane} may join the datagram");
        if let Some(place) = place {
            *place = Unreliable { lane, frames: place.frames + 1, bytes: place.bytes + frame_bytes };
        }
    }

    /// Notes that the datagram that is being filled carries the credit of `lanes`, a bit each.
    pub fn add_credit(&mut self, lanes: u16) {
        self.open.credit |= lanes;
    }

    /// The datagram that was filled leaves.
    ///
    /// # Panics
    /// If it is waited for and there is no room for another one.
    pub fn close(&mut self, now: Instant, number: u32, bytes: u16, waited_for: bool) {
        let Open { frames, credit, unreliable } = core::mem::replace(&mut self.open, EMPTY);
        debug_assert!(waited_for || frames.first().is_none(), "reliable frames are waited for");
        if !waited_for {
            return;
        }
        let slots = self.frames.as_mut();
        let first = frames.first().unwrap_or(NO_FRAME);
        let mut index = first;
        while index != NO_FRAME {
            let slot = &mut slots[usize::from(index)];
            (slot.datagram, slot.place) = (number, Place::Datagram);
            index = slot.next;
        }
        let slot = SentSlot { number, sent: now, bytes, fate: Fate::InFlight, frames: first, credit, unreliable };
        self.sent.push(slot);
    }

    /// Everything up to and including `through` arrived or is given up.
    pub fn on_through(&mut self, through: u32, acked: &mut impl FnMut(AckedDatagram)) {
        let (mut settling, sent) = self.split();
        sent.on_through(through, &mut |slot| {
            settling.all_of(slot.frames);
            acked(slot.into());
        });
    }

    /// The datagrams of `span` arrived.
    pub fn on_span(&mut self, span: Span, acked: &mut impl FnMut(AckedDatagram)) {
        let (mut settling, sent) = self.split();
        sent.on_span(span, &mut |slot| {
            settling.all_of(slot.frames);
            acked(slot.into());
        });
    }

    fn split(&mut self) -> (Settling<'_>, &mut Sent<P>) {
        let Self { frames, lanes, told, free, free_count, sent, window, .. } = self;
        (Settling { frames: frames.as_mut(), lanes, told, free, free_count, window: *window }, sent)
    }

    /// Takes the oldest datagram in flight for lost, if `lost` says so of it: its reliable frames are to be sent again.
    /// Returns it; what it carried besides is for the session to see to.
    pub fn lose_oldest(&mut self, fate: Fate, lost: impl FnOnce(&SentSlot) -> bool) -> Option<SentSlot> {
        let slot = self.sent.lose_oldest(fate, lost)?;
        let frames = self.frames.as_mut();
        let mut index = slot.frames;
        while index != NO_FRAME {
            let frame = &mut frames[usize::from(index)];
            frame.place = Place::Again;
            let (seq, next) = (frame.seq, frame.next);
            let again = &mut self.lanes[usize::from(frame.lane)].again;
            // The oldest first: on an ordered lane, others wait for it.
            let older = again.first().is_some_and(|first| forward(frames[usize::from(first)].seq, seq).is_none());
            if older {
                again.push_front(frames, index);
            } else {
                again.push_back(frames, index);
            }
            index = next;
        }
        Some(slot)
    }

    /// What the owner has to know: a frame is settled, its payload may go. Call it until it says `None`.
    pub fn poll_settled(&mut self) -> Option<Settled> {
        let frames = self.frames.as_mut();
        let index = self.told.pop_front(frames);
        if index == NO_FRAME {
            return None;
        }
        let slot = frames[usize::from(index)];
        self.free.push_back(frames, index);
        self.free_count += 1;
        debug_assert!(matches!(slot.content, Content::Frame(_)), "only frames are told of");
        let Content::Frame(carried) = slot.content else { return None };
        Some(Settled { lane: slot.lane, seq: slot.seq, payload: carried.payload, outcome: slot.outcome })
    }

    fn slot(&self, index: FrameIndex) -> &FrameSlot {
        &self.frames.as_ref()[usize::from(index)]
    }
}

#[cfg(test)]
mod tests;
