//! What the owner must know, one thing at a time.

use super::{Event, Incoming, Link, Outcome};
use crate::serial::control::Control;
use crate::serial::frame::{Head, SerialKind};
use crate::serial::limits::SERIAL_CRC_BYTES;
use crate::serial::sender::Part;

impl<const L: usize, const W: usize, const H: usize, const F: usize> Link<L, W, H, F> {
    /// Whether [`Self::poll_event`] has something.
    pub fn has_events(&self) -> bool {
        self.opened
            || self.ended.is_some()
            || self.arrived.is_some()
            || self.finished.is_some()
            || self.clock.is_some()
            || self.turn_over.is_some()
            || self.is_draining()
            || self.lanes.iter().any(|lane| lane.receiver.has_kept())
    }

    /// Messages of a session that is over wait to be finished.
    fn is_draining(&self) -> bool {
        !self.is_open() && self.lanes.iter().any(|lane| !lane.sender.is_idle() || lane.cut.is_some())
    }

    /// What happened; called until it says `None`.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        if let Some(ended) = self.ended.take() {
            return Some(Event::Ended(ended));
        }
        if let Some((handle, outcome)) = self.finished.take() {
            return Some(Event::Finished(handle, outcome));
        }
        if !self.is_open() {
            if let Some((handle, outcome)) = self.drain() {
                return Some(Event::Finished(handle, outcome));
            }
        }
        if core::mem::take(&mut self.opened) {
            return Some(Event::Opened);
        }
        if let Some(clock) = self.clock.take() {
            return Some(Event::Clock(clock));
        }
        if let Some(more) = self.turn_over.take() {
            return Some(Event::TurnOver { more });
        }
        if let Some(handle) = self.pop_arrived() {
            return Some(Event::Finished(handle, Outcome::Arrived));
        }
        self.poll_frame()
    }

    fn poll_frame(&mut self) -> Option<Event<'_>> {
        if let Some(arrived) = self.arrived.take() {
            let len = usize::from(arrived.len);
            return self.deliver(None, len, arrived.missed);
        }
        let (lane, seq) = loop {
            let lane = self.lanes.iter_mut().find(|lane| lane.receiver.has_kept())?;
            let Some(seq) = lane.receiver.pop() else { continue };
            let number = lane.number();
            if self.kept.iter().any(|kept| kept.lane == number && kept.seq == seq) {
                break (number, seq);
            }
        };
        let place = self.kept.iter().position(|kept| kept.lane == lane && kept.seq == seq)?;
        // Free again; nothing is put there before this event is done with.
        self.kept[place].lane = u8::MAX;
        let len = usize::from(self.kept[place].len);
        self.deliver(Some(place), len, 0)
    }

    /// The frame in the buffer, or in the place where it was kept.
    fn deliver(&mut self, place: Option<usize>, len: usize, missed: u16) -> Option<Event<'_>> {
        let start = usize::from(self.setup.address != 0);
        let Self { buffer, kept, lanes, .. } = self;
        let bytes = place.map_or(&buffer[..], |place| &kept[place].bytes[..]);
        let (head, payload) = Head::decode(bytes.get(start..len - SERIAL_CRC_BYTES)?).ok()?;
        if head.kind == SerialKind::Ctrl && head.frag.is_none() {
            if let Ok(Some(Control::Credit(limits))) = Control::decode(payload) {
                for limit in limits.limits() {
                    let lane = lanes.iter_mut().find(|lane| lane.number() == limit.lane);
                    lane.into_iter().for_each(|lane| lane.sender.on_credit(limit.through));
                }
            }
        }
        Some(Event::Frame(Incoming { head, missed, payload }))
    }

    /// A message whose last frame has arrived, and everything before it.
    fn pop_arrived(&mut self) -> Option<crate::serial::Handle> {
        for lane in &mut self.lanes {
            while let Some(Part { handle, index, count, .. }) = lane.sender.pop_arrived() {
                if lane.is_done() {
                    lane.share.stop();
                }
                if index + 1 == count {
                    return Some(handle);
                }
            }
        }
        None
    }

    /// A message that was under way when the session ended.
    fn drain(&mut self) -> Option<(crate::serial::Handle, Outcome)> {
        for lane in &mut self.lanes {
            while let Some((part, arrived)) = lane.sender.pop_any() {
                if part.index + 1 == part.count {
                    return Some((part.handle, if arrived { Outcome::Arrived } else { Outcome::Maybe }));
                }
            }
            // Of this one not all was sent.
            if let Some(cut) = lane.cut.take() {
                return Some((cut.handle, Outcome::Maybe));
            }
            lane.share.stop();
        }
        None
    }
}
