//! What arrived: checked as a whole first, then each frame once, in the order its lane promises.

use super::super::ack::{self, Ack};
use super::super::heartbeat;
use super::super::loss::{RANGE_LOST_BODY_BYTES, RangeLost};
use super::newest::{Newest, NewestSlot};
use super::{Counters, Dropped, LaneRule, Upper};
use crate::error::DecodeError;
use crate::frame::extensions::Extensions;
use crate::frame::lost::Lost;
use crate::frame::ping::{Ping, Pong};
use crate::frame::{batch, credit};
use crate::header::{Flags, Header, Kind, seq_after};
use crate::lane::kind::LaneKind;
use crate::lane::sequencer::{Before, ExactlyOnce, Verdict, forward};
use crate::limits::{HEADER_BYTES, LANES_MAX};
use crate::time::Instant;

/// By lane, which numbers have arrived.
#[derive(Debug)]
pub(super) struct Inbound<W, K> {
    lanes: [ExactlyOnce<W>; LANES_MAX],
    pub(super) newest: Newest<K>,
}

/// The frames of a datagram: header, and the frame's bytes with it.
struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(Header, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(head) = self.rest.first_chunk::<HEADER_BYTES>() else {
            self.rest = &[];
            return Some(Err(DecodeError::BodyTruncated));
        };
        let decoded = Header::decode(head).and_then(|header| {
            let (frame, rest) =
                self.rest.split_at_checked(usize::from(header.len)).ok_or(DecodeError::BodyTruncated)?;
            self.rest = rest;
            Ok((header, frame))
        });
        if decoded.is_err() {
            self.rest = &[];
        }
        Some(decoded)
    }
}

/// The frames of a datagram that was checked.
fn checked(frames: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
    Frames { rest: frames }.flatten()
}

/// The acknowledgement in a datagram that was checked.
pub(super) fn ack_of(frames: &[u8]) -> Option<Ack<'_>> {
    let (_, frame) = checked(frames).find(|(header, _)| header.kind == Kind::ACK)?;
    ack::decode(frame.get(HEADER_BYTES..)?).ok()
}

/// The oldest datagram that the sender of this one, which was checked, still waits for; if it says so.
pub(super) fn trail_of(frames: &[u8]) -> Option<u32> {
    let (_, frame) = checked(frames).find(|(header, _)| header.kind == Kind::HEARTBEAT)?;
    let mut beats = heartbeat::decode(frame.get(HEADER_BYTES..)?).ok()?;
    beats.find(|beat| beat.lane == 0).map(|beat| beat.trail)
}

/// Whether a datagram that was checked holds a control message.
pub(super) fn has_control(frames: &[u8]) -> bool {
    checked(frames).any(|(header, _)| header.kind == Kind::CTRL)
}

/// What the session does with a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It has a number of its lane.
    Numbered(LaneRule),
    /// Numbers of its lane will not come.
    Lost,
    /// Delivered as it comes.
    Plain,
    /// Done with, or to be skipped.
    Nothing,
}

/// Checks one frame.
fn way_of(header: &Header, frame: &[u8], lanes: &[Option<LaneRule>; LANES_MAX]) -> Result<Way, DecodeError> {
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let rule = || {
        let rule = lanes.get(usize::from(header.lane)).copied().flatten().ok_or(DecodeError::BodyMalformed)?;
        if header.seq == 0 { Err(DecodeError::BodyMalformed) } else { Ok(Way::Numbered(rule)) }
    };
    if header.flags.has(Flags::RESERVED) {
        return Err(DecodeError::BodyMalformed);
    }
    match header.kind {
        Kind::PUB | Kind::BATCH if header.lane > 0 => {
            let (extensions, payload) = Extensions::decode(header.flags, body)?;
            if header.kind == Kind::BATCH {
                batch::message_count_of(payload, payload.len())?;
                if extensions.frag.is_some() {
                    return Err(DecodeError::BodyMalformed);
                }
            }
            rule()
        }
        Kind::CTRL | Kind::CONFIRM if header.lane == 0 => {
            Extensions::decode(header.flags, body)?;
            rule()
        }
        Kind::LOST if body.len() == RANGE_LOST_BODY_BYTES => {
            RangeLost::decode(header, body)?;
            let rule = lanes.get(usize::from(header.lane)).copied().flatten();
            rule.filter(|rule| rule.kind.is_reliable()).map(|_| Way::Lost).ok_or(DecodeError::BodyMalformed)
        }
        Kind::LOST if header.lane > 0 => Lost::decode(header, body).and_then(|_| rule()),
        Kind::PING => Ping::decode(body).map(|_| Way::Plain),
        Kind::PONG => Pong::decode(body).map(|_| Way::Plain),
        Kind::CREDIT => credit::decode(body).map(|_| Way::Plain),
        Kind::ACK => ack::decode(body).map(|_| Way::Nothing),
        Kind::HEARTBEAT => heartbeat::decode(body).map(|_| Way::Nothing),
        Kind::PAD => Ok(Way::Nothing),
        kind if !kind.is_known() && kind.0 & Kind::SKIPPABLE_BIT != 0 => Ok(Way::Nothing),
        _ => Err(DecodeError::BodyMalformed),
    }
}

impl<W: AsRef<[u64]> + AsMut<[u64]>, K: AsRef<[NewestSlot]> + AsMut<[NewestSlot]>> Inbound<W, K> {
    pub(super) fn new(windows: [W; LANES_MAX], keys: K, lanes: &[Option<LaneRule>; LANES_MAX], first: u32) -> Self {
        let mut lane = 0;
        let lanes = windows.map(|words| {
            let ordered = lanes[lane].is_some_and(|rule| rule.kind.is_ordered());
            lane += 1;
            ExactlyOnce::with_words(words, first, ordered)
        });
        Self { lanes, newest: Newest::new(keys) }
    }

    /// Checks all frames of a datagram; nothing changes. Returns whether any has a number.
    pub(super) fn check(&self, frames: &[u8], rules: &[Option<LaneRule>; LANES_MAX]) -> Result<bool, Dropped> {
        let mut has_data = false;
        for decoded in (Frames { rest: frames }) {
            let (header, frame) = decoded.map_err(Dropped::Malformed)?;
            let Way::Numbered(rule) = way_of(&header, frame, rules).map_err(Dropped::Malformed)? else { continue };
            has_data = true;
            let lane = &self.lanes[usize::from(header.lane)];
            let ahead = forward(lane.next(), header.seq).unwrap_or_default();
            if rule.kind.is_reliable() && ahead >= lane.window() {
                return Err(Dropped::Beyond);
            }
        }
        Ok(has_data)
    }

    /// Delivers the frames of a datagram that was checked and is new.
    pub(super) fn deliver(
        &mut self,
        now: Instant,
        frames: &[u8],
        rules: &[Option<LaneRule>; LANES_MAX],
        counters: &mut Counters,
        upper: &mut impl Upper,
    ) {
        for (header, frame) in checked(frames) {
            match way_of(&header, frame, rules) {
                Ok(Way::Numbered(rule)) => self.on_numbered(now, rule.kind, &header, frame, counters, upper),
                Ok(Way::Lost) => self.on_lost(&header, frame, upper),
                Ok(Way::Plain) => upper.deliver(&header, frame),
                Ok(Way::Nothing) | Err(_) => {}
            }
        }
    }

    fn on_numbered(
        &mut self,
        now: Instant,
        kind: LaneKind,
        header: &Header,
        frame: &[u8],
        counters: &mut Counters,
        upper: &mut impl Upper,
    ) {
        match kind {
            LaneKind::UU => upper.deliver(header, frame),
            LaneKind::US => {
                // The number of a message in fragments is looked at when it is whole, that of a report never.
                let is_whole = header.kind != Kind::LOST && !header.flags.has(Flags::FRAG);
                if !is_whole || self.newest.accepts(now, header.lane, header.topic, header.ckey, header.seq) {
                    upper.deliver(header, frame);
                } else {
                    counters.outdated += 1;
                    upper.outdated(header);
                }
            }
            LaneKind::RU | LaneKind::RO => {
                let lane = &mut self.lanes[usize::from(header.lane)];
                match lane.on_message(header.seq) {
                    Verdict::Deliver => upper.deliver(header, frame),
                    Verdict::Hold => upper.keep(header, frame),
                    Verdict::Duplicate | Verdict::Beyond => counters.frames_repeated += 1,
                }
                release(lane, header.lane, upper);
            }
        }
    }

    fn on_lost(&mut self, header: &Header, frame: &[u8], upper: &mut impl Upper) {
        let Ok(lost) = RangeLost::decode(header, frame.get(HEADER_BYTES..).unwrap_or_default()) else { return };
        let lane = &mut self.lanes[usize::from(header.lane)];
        let is_lost = lane.on_message_lost(lost.first, lost.count, &mut |place, before| {
            if before == Before::Held {
                upper.forget(header.lane, seq_after(lost.first, place));
            }
        });
        if is_lost {
            upper.lost(&lost);
        }
        release(lane, header.lane, upper);
    }
}

/// Delivers what waited for what has come.
fn release<W: AsRef<[u64]> + AsMut<[u64]>>(lane: &mut ExactlyOnce<W>, number: u8, upper: &mut impl Upper) {
    while let Some(seq) = lane.release() {
        upper.release(number, seq);
    }
}
