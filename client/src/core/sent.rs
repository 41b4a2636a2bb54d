//! What was handed to the links of a session on reliable lanes and was not counted by the broker: if a link breaks and the
//! session is resumed, it goes again.
//!
//! Kept are the very buffers that were sent, so that nothing is copied while the link is fast; small ones are put together.
//!
//! ```text
//!   freed   <=   counted   <=   placed          frames of a lane since the session began
//!    | chunk | chunk | chunk | with the writer |  waits to be sent
//! ```

use std::collections::VecDeque;

use laneway_proto::error::PeerFault;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::LANES_MAX;

use super::transmit::{Transmit, Untouched};

/// Bytes of one lane that may be with the broker without being counted, what is handed out together not included; at the
/// bound publishing on that lane waits.
pub const LANE_SENT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes up to which what was sent together is copied behind what was sent before it.
const SMALL_BYTES_MAX: usize = 4 * 1024;
/// Bytes of small ones that are put together.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// Empty buffers kept for reuse.
const SPARE_MAX: usize = 8;

const _: () = assert!(
    LANE_SENT_BYTES_MAX >= 8 * laneway_proto::lane::tally::COUNT_BYTES as u64,
    "a broker counts long before the bound"
);

/// How far some frames reach on each lane, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    through: [u64; LANES_MAX],
    bytes: [u64; LANES_MAX],
}

#[derive(Debug)]
struct Chunk {
    transmit: Transmit,
    reach: Reach,
}

/// What one session has sent.
///
/// Invariant: on each lane `freed <= counted <= placed`, and `bytes` is the sum of what is held.
#[derive(Debug)]
pub(super) struct Sent {
    chunks: VecDeque<Chunk>,
    /// Of what the writer was given last, if something of it is not counted.
    handed: Option<Reach>,
    spare: Vec<Transmit>,
    reliable: u16,
    freed: [u64; LANES_MAX],
    counted: [u64; LANES_MAX],
    placed: [u64; LANES_MAX],
    bytes: [u64; LANES_MAX],
}

impl Sent {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            chunks: VecDeque::new(),
            handed: None,
            spare: Vec::new(),
            reliable: LaneTable::STANDARD.reliable(),
            freed: [0; LANES_MAX],
            counted: [0; LANES_MAX],
            placed: [0; LANES_MAX],
            bytes: [0; LANES_MAX],
        }
    }

    /// Whether frames of a lane are kept.
    pub(super) const fn keeps(&self, lane: u8) -> bool {
        (lane as usize) < LANES_MAX && self.reliable & 1 << lane != 0
    }

    /// Whether more may be published on a lane.
    pub(super) fn has_room(&self, lane: u8) -> bool {
        self.bytes.get(usize::from(lane)).is_none_or(|&bytes| bytes < LANE_SENT_BYTES_MAX)
    }

    /// Whether the broker may lack something of what was sent.
    pub(super) fn is_uncounted(&self) -> bool {
        self.counted != self.placed
    }

    /// The writer has sent `out`, which it was given last: keeps it, and leaves an empty buffer.
    pub(super) fn take_back(&mut self, out: &mut Transmit) {
        let Some(reach) = self.handed.take() else {
            out.clear();
            return;
        };
        if let Some(last) = self.chunks.back_mut()
            && last.transmit.gather(out, SMALL_BYTES_MAX, GATHERED_BYTES_MAX)
        {
            last.reach.through = reach.through;
            for (sum, bytes) in last.reach.bytes.iter_mut().zip(reach.bytes) {
                *sum += bytes;
            }
            out.clear();
            return;
        }
        let transmit = std::mem::replace(out, self.spare.pop().unwrap_or_default());
        self.chunks.push_back(Chunk { transmit, reach });
    }

    /// The writer is given `out`.
    pub(super) fn hand_out(&mut self, out: &Transmit) {
        let mut reach = Reach::default();
        for frame in out.frames().filter(|frame| frame.header.kind.is_data()) {
            let lane = usize::from(frame.header.lane) % LANES_MAX;
            if self.reliable & 1 << lane != 0 {
                self.placed[lane] += 1;
                self.bytes[lane] += u64::from(frame.header.len);
                reach.bytes[lane] += u64::from(frame.header.len);
            }
        }
        reach.through = self.placed;
        self.handed = reach.bytes.iter().any(|&bytes| bytes > 0).then_some(reach);
    }

    /// The broker has received `total` frames of a lane. True if a lane has room again.
    pub(super) fn on_count(&mut self, lane: u8, total: u64) -> Result<bool, PeerFault> {
        let place = usize::from(lane) % LANES_MAX;
        if !self.keeps(lane) {
            return Ok(false);
        }
        if total > self.placed[place] {
            return Err(PeerFault::CountAhead);
        }
        self.counted[place] = self.counted[place].max(total);
        let full = self.full();
        self.free();
        Ok(self.full() < full)
    }

    fn full(&self) -> usize {
        (0..LANES_MAX as u8).filter(|&lane| !self.has_room(lane)).count()
    }

    fn free(&mut self) {
        while let Some(front) = self.chunks.front()
            && self.covers(&front.reach)
        {
            let Some(Chunk { mut transmit, reach }) = self.chunks.pop_front() else { return };
            self.let_go(&reach);
            if self.spare.len() < SPARE_MAX {
                transmit.clear();
                self.spare.push(transmit);
            }
        }
        if let Some(reach) = self.handed
            && self.chunks.is_empty()
            && self.covers(&reach)
        {
            self.handed = None;
            self.let_go(&reach);
        }
    }

    fn covers(&self, reach: &Reach) -> bool {
        reach.through.iter().zip(&self.counted).all(|(through, counted)| through <= counted)
    }

    fn let_go(&mut self, reach: &Reach) {
        self.freed = reach.through;
        for (sum, bytes) in self.bytes.iter_mut().zip(reach.bytes) {
            *sum -= bytes;
        }
    }

    /// The session goes on over a new link: the broker has received so many frames of each lane. Shows the others, in
    /// order, to `put`; `unsent` is what the old link's writer had of what it was given last. Fewer than were counted, or
    /// more than were sent, is the broker's fault, and nothing is done.
    pub(super) fn on_resume(
        &mut self,
        totals: &[u64; LANES_MAX],
        unsent: &Transmit,
        mut put: impl FnMut(&Untouched<'_>),
    ) -> Result<(), PeerFault> {
        for lane in (1..LANES_MAX).filter(|&lane| self.reliable & 1 << lane != 0) {
            if totals[lane] < self.counted[lane] || totals[lane] > self.placed[lane] {
                return Err(PeerFault::CountAhead);
            }
        }
        let mut at = self.freed;
        let with_writer = self.handed.map(|_| unsent.frames());
        let frames =
            self.chunks.iter().flat_map(|chunk| chunk.transmit.frames()).chain(with_writer.into_iter().flatten());
        for frame in frames.filter(|frame| frame.header.kind.is_data() && self.keeps(frame.header.lane)) {
            let lane = usize::from(frame.header.lane);
            at[lane] += 1;
            if at[lane] > totals[lane] {
                put(&frame);
            }
        }
        debug_assert!(at == self.placed, "everything that was sent and is not counted is here");
        let spare = std::mem::take(&mut self.spare);
        *self = Self { spare, freed: *totals, counted: *totals, placed: *totals, ..Self::new() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf as _;
    use laneway_proto::header::{Header, Kind};

    fn out(frames: &[(u8, u32)]) -> Transmit {
        let mut out = Transmit::default();
        for &(lane, seq) in frames {
            out.inline.extend_from_slice(&Header { lane, seq, ..Header::new(Kind::PUB, 3) }.encode());
            out.inline.extend_from_slice(b"abc");
        }
        out
    }

    fn send(sent: &mut Sent, frames: &[(u8, u32)]) -> Transmit {
        let mut transmit = out(frames);
        sent.hand_out(&transmit);
        transmit.advance(transmit.len());
        transmit
    }

    fn resumed(sent: &mut Sent, lane_1: u64, unsent: &Transmit) -> Result<Vec<(u8, u32)>, PeerFault> {
        let mut totals = [0; LANES_MAX];
        totals[1] = lane_1;
        let mut again = Vec::new();
        sent.on_resume(&totals, unsent, |frame| again.push((frame.header.lane, frame.header.seq)))?;
        Ok(again)
    }

    #[test]
    fn what_is_not_counted_goes_again_in_order_and_nothing_else() {
        for counted in 0..=4 {
            for received in 0..=5 {
                let mut sent = Sent::new();
                let mut first = send(&mut sent, &[(1, 1), (3, 1), (1, 2)]);
                sent.take_back(&mut first);
                let mut second = send(&mut sent, &[(1, 3), (2, 1)]);
                sent.take_back(&mut second);
                let third = send(&mut sent, &[(1, 4), (4, 1)]);
                assert_eq!(sent.on_count(1, counted), Ok(false));
                let expected: Vec<_> = (received as u32 + 1..=4).map(|seq| (1, seq)).collect();
                let again = resumed(&mut sent, received, &third);
                if received < counted || received > 4 {
                    assert_eq!(again, Err(PeerFault::CountAhead), "{counted} were counted, {received} received");
                    continue;
                }
                let again = again.expect("possible");
                assert_eq!(again.iter().filter(|(lane, _)| *lane == 1).copied().collect::<Vec<_>>(), expected);
                assert_eq!(again.iter().filter(|(lane, _)| *lane == 2).count(), 1);
                assert_eq!(again.len(), expected.len() + 1, "lanes that lose are not kept");
            }
        }
    }

    #[test]
    fn a_lane_that_is_not_counted_fills_up_alone_and_a_count_makes_room() {
        let mut sent = Sent::new();
        let mut handed = 0;
        while sent.has_room(1) {
            let mut transmit = send(&mut sent, &[(1, 1); 50_000]);
            sent.take_back(&mut transmit);
            handed += 50_000;
        }
        assert!(sent.has_room(2) && !sent.has_room(1) && sent.is_uncounted());
        assert_eq!(sent.on_count(1, handed + 1), Err(PeerFault::CountAhead));
        assert_eq!(sent.on_count(1, handed), Ok(true));
        assert!(sent.has_room(1) && !sent.is_uncounted() && sent.bytes == [0; LANES_MAX]);
    }

    #[test]
    fn what_the_writer_still_has_is_let_go_when_it_is_counted() {
        let mut sent = Sent::new();
        let last = send(&mut sent, &[(1, 1), (1, 2)]);
        assert_eq!(sent.on_count(1, 2), Ok(false));
        assert_eq!((sent.bytes[1], sent.handed.is_none()), (0, true));
        assert_eq!(resumed(&mut sent, 2, &last), Ok(vec![]));
        let next = send(&mut sent, &[(1, 3)]);
        assert_eq!(resumed(&mut sent, 2, &next), Ok(vec![(1, 3)]), "numbers go on");
    }
}
