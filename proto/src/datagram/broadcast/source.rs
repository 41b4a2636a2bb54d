//! What a source keeps for those who miss it: frames for a while, who asked for which, and how far each stream has come.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::numbers::{number_at, place_of};
use crate::datagram::heartbeat::Beat;
use crate::datagram::limits::{
    DEMOTE_MS, DEMOTE_PERCENT, HEARTBEAT_MS_FIRST, HEARTBEAT_MS_MAX, REPAIR_BYTES_DEFAULT, REPAIR_LINGER_MS,
    REPAIR_MS_DEFAULT,
};
use crate::datagram::loss::RangeLost;
use crate::datagram::nak::Nak;
use crate::datagram::pace::Pacer;
use crate::datagram::signs::Demote;
use crate::frame::lost::LossReason;
use crate::header::Flags;
use crate::time::{Duration, Instant};

/// How long a first request waits for others: the round trip of a network like that.
const OTHERS_US: u64 = 500;
/// Frames below which nobody is judged.
const JUDGED_FRAMES_MIN: u64 = 100;
/// Milliseconds after which one that is ignored and asks is told so again.
const TOLD_MS: u32 = 100;
/// Receivers that are told apart.
const ASKERS_MAX: usize = 1_024;
/// Silence after which nobody is told any more how far a stream has come.
const FORGOTTEN_MS: u32 = 60_000;
/// Answers that wait.
const REPLIES_MAX: usize = 256;
/// Where the flags are in a frame.
const FLAGS_AT: usize = 3;
/// Most NAKed numbers that are looked at of one frame of requests.
const ASKED_MAX: u64 = 4_096;

/// A stream of this source: tag and lane.
pub(super) type Key = (u32, u8);

/// Who is to get a frame again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    No,
    By(SocketAddr, Instant),
    BySeveral(Instant),
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    sent: Instant,
    asked: Asked,
    /// Requests before are ignored, but those of others when the last repair was to one.
    again_from: Instant,
    repaired_to: Option<SocketAddr>,
}

#[derive(Debug)]
struct Stream {
    /// Place of the first that is kept.
    first: u64,
    frames: VecDeque<Kept>,
    spoke: Instant,
    beat_at: Instant,
    beat_pause: Duration,
}

/// How much one receiver asked for in the time in which that is counted.
#[derive(Clone, Copy, Debug)]
struct Asker {
    frames: u64,
    ignored_until: Instant,
    /// Percent of the frames that it asked for, when it was last told so.
    percent: u16,
    told: Instant,
}

/// A datagram that is no first sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Again {
    /// One receiver, or all.
    pub(super) to: Option<SocketAddr>,
    pub(super) tag: u32,
    pub(super) frames: Vec<u8>,
    /// Whether frames are repeated in it.
    pub(super) repairs: bool,
}

/// A source's memory.
#[derive(Debug)]
pub(super) struct Source {
    streams: BTreeMap<Key, Stream>,
    /// Streams in the order in which frames of them were sent: which is the oldest of all.
    order: VecDeque<Key>,
    bytes: usize,
    /// Requests by when they are due.
    due: BTreeSet<(Instant, Key, u64)>,
    /// No heartbeat is due before.
    beat_due: Instant,
    replies: VecDeque<Again>,
    askers: BTreeMap<SocketAddr, Asker>,
    counted_since: Instant,
    sent: u64,
    /// Of the current second: frames, and those that several asked for.
    second: (Instant, u64, u64),
    pacer: Pacer,
}

impl Source {
    /// Repairs take so many bytes a second (0: no limit) in datagrams of at most `datagram_bytes`.
    pub(super) fn new(bytes_per_s: u64, datagram_bytes: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            due: BTreeSet::new(),
            beat_due: Instant(u64::MAX),
            replies: VecDeque::new(),
            askers: BTreeMap::new(),
            counted_since: Instant(0),
            sent: 0,
            second: (Instant(0), 0, 0),
            pacer: Pacer::new(bytes_per_s, datagram_bytes),
        }
    }

    /// The next frame of a stream was sent.
    pub(super) fn on_sent(&mut self, now: Instant, key: Key, bytes: Vec<u8>) {
        self.sent += 1;
        self.second.1 += 1;
        self.bytes += bytes.len();
        let first_beat = Duration::from_millis(HEARTBEAT_MS_FIRST);
        let stream = self.streams.entry(key).or_insert_with(|| Stream {
            first: 1,
            frames: VecDeque::new(),
            spoke: now,
            beat_at: now,
            beat_pause: first_beat,
        });
        (stream.spoke, stream.beat_at, stream.beat_pause) = (now, now + first_beat, first_beat);
        self.beat_due = self.beat_due.min(stream.beat_at);
        stream.frames.push_back(Kept { bytes, sent: now, asked: Asked::No, again_from: now, repaired_to: None });
        self.order.push_back(key);
        self.expire(now);
    }

    /// What is too old or too much goes, the oldest first.
    fn expire(&mut self, now: Instant) {
        while let Some(&key) = self.order.front() {
            let Some(stream) = self.streams.get_mut(&key) else {
                self.order.pop_front();
                continue;
            };
            let old = stream
                .frames
                .front()
                .is_some_and(|kept| now.since(kept.sent) > Duration::from_millis(REPAIR_MS_DEFAULT));
            if !old && self.bytes <= REPAIR_BYTES_DEFAULT as usize {
                return;
            }
            self.order.pop_front();
            let Some(kept) = stream.frames.pop_front() else { continue };
            self.bytes -= kept.bytes.len();
            if let Asked::By(_, due) | Asked::BySeveral(due) = kept.asked {
                self.due.remove(&(due, key, stream.first));
            }
            stream.first += 1;
        }
    }

    /// A receiver misses numbers.
    pub(super) fn on_nak(&mut self, now: Instant, from: SocketAddr, nak: Nak<'_>) {
        self.expire(now);
        let key = (nak.stream.tag, nak.stream.lane);
        if self.is_ignored(now, from) {
            return;
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let lead = stream.first + stream.frames.len() as u64;
        let (mut asked, mut several) = (0, 0);
        for missing in nak {
            let Some(place) = place_of(missing.first, lead) else { continue };
            let end = (place + u64::from(missing.count)).min(lead);
            if place < stream.first {
                let gone = end.min(stream.first).saturating_sub(place);
                if gone > 0 && self.replies.len() < REPLIES_MAX {
                    self.replies.push_back(gone_for_good(from, key, place, gone));
                }
            }
            for place in place.max(stream.first)..end.min(place + ASKED_MAX) {
                let Some(kept) = stream.frames.get_mut((place - stream.first) as usize) else { break };
                let is_lingering = now < kept.again_from;
                if is_lingering && kept.repaired_to.is_none_or(|to| to == from) {
                    continue;
                }
                asked += 1;
                match kept.asked {
                    // The last one that asked was answered alone.
                    Asked::No if is_lingering => {
                        self.due.insert((now, key, place));
                        kept.asked = Asked::BySeveral(now);
                        several += 1;
                    }
                    Asked::No => {
                        let due = now + Duration::from_micros(OTHERS_US);
                        kept.asked = Asked::By(from, due);
                        self.due.insert((due, key, place));
                    }
                    Asked::By(other, due) if other != from => {
                        // Nobody else has to be waited for.
                        self.due.remove(&(due, key, place));
                        self.due.insert((now, key, place));
                        kept.asked = Asked::BySeveral(now);
                        several += 1;
                    }
                    Asked::By(..) | Asked::BySeveral(_) => {}
                }
            }
        }
        self.second.2 += several;
        if self.askers.len() < ASKERS_MAX || self.askers.contains_key(&from) {
            let unknown = Asker { frames: 0, ignored_until: Instant(0), percent: 0, told: Instant(0) };
            self.askers.entry(from).or_insert(unknown).frames += asked;
        }
    }

    /// Whether one that asks is not listened to; what it was told may have been lost, so that it is told again.
    fn is_ignored(&mut self, now: Instant, from: SocketAddr) -> bool {
        let Some(asker) = self.askers.get_mut(&from).filter(|asker| now < asker.ignored_until) else { return false };
        if now.since(asker.told) >= Duration::from_millis(TOLD_MS) && self.replies.len() < REPLIES_MAX {
            asker.told = now;
            self.replies.push_back(too_much(from, asker.percent));
        }
        true
    }

    /// Judges who asks for too much, once in a while.
    fn judge(&mut self, now: Instant) {
        let span = Duration::from_millis(DEMOTE_MS);
        if now.since(self.counted_since) < span {
            return;
        }
        let sent = self.sent;
        for (&to, asker) in &mut self.askers {
            let percent = if sent < JUDGED_FRAMES_MIN { 0 } else { asker.frames * 100 / sent };
            if percent > u64::from(DEMOTE_PERCENT) && now >= asker.ignored_until && self.replies.len() < REPLIES_MAX {
                (asker.ignored_until, asker.percent, asker.told) = (now + span, percent.min(100) as u16, now);
                self.replies.push_back(too_much(to, asker.percent));
            }
            asker.frames = 0;
        }
        self.askers.retain(|_, asker| now < asker.ignored_until);
        (self.counted_since, self.sent) = (now, 0);
    }

    /// Whether the last whole second was one in which too much was asked for by several; `None` within a second.
    pub(super) fn poll_crowded(&mut self, now: Instant) -> Option<bool> {
        let (since, sent, several) = self.second;
        if now.since(since) < Duration::from_millis(1_000) {
            return None;
        }
        self.second = (now, 0, 0);
        Some(sent > 0 && several * 20 > sent)
    }

    /// Frames of a tag have left: how far their streams have come needs not be said for a while.
    pub(super) fn on_left(&mut self, now: Instant, tag: u32) {
        let first_beat = Duration::from_millis(HEARTBEAT_MS_FIRST);
        for (_, stream) in self.streams.range_mut((tag, 0)..=(tag, u8::MAX)) {
            (stream.beat_at, stream.beat_pause) = (now + first_beat, first_beat);
        }
    }

    /// The next datagram that is no first sending, with room for `room` bytes of frames. `all_left`: nothing waits to be sent
    /// for the first time, so that how far streams have come may be said.
    pub(super) fn poll(&mut self, now: Instant, room: usize, all_left: bool) -> Option<Again> {
        self.expire(now);
        self.judge(now);
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        if self.pacer.wait_until(now).is_none()
            && let Some(again) = self.repair(now, room)
        {
            self.pacer.on_sent(now, again.frames.len());
            return Some(again);
        }
        if all_left { self.beat(now) } else { None }
    }

    /// Frames of one stream, and for the same receivers.
    fn repair(&mut self, now: Instant, room: usize) -> Option<Again> {
        let &(due, key, first) = self.due.first().filter(|(due, ..)| *due <= now)?;
        let whom = |asked: Asked| match asked {
            Asked::By(from, _) => Some(Some(from)),
            Asked::BySeveral(_) => Some(None),
            Asked::No => None,
        };
        let stream = self.streams.get_mut(&key)?;
        let Some(to) = stream.frames.get((first - stream.first) as usize).and_then(|kept| whom(kept.asked)) else {
            self.due.remove(&(due, key, first));
            return None;
        };
        let mut frames = Vec::new();
        for place in first.. {
            let Some(kept) = stream.frames.get_mut((place - stream.first) as usize) else { break };
            let (Asked::By(_, due) | Asked::BySeveral(due)) = kept.asked else { break };
            let fits = frames.is_empty() || frames.len() + kept.bytes.len() <= room;
            if whom(kept.asked) != Some(to) || due > now || !fits {
                break;
            }
            self.due.remove(&(due, key, place));
            (kept.asked, kept.repaired_to) = (Asked::No, to);
            kept.again_from = now + Duration::from_millis(REPAIR_LINGER_MS);
            let start = frames.len();
            frames.extend_from_slice(&kept.bytes);
            if let Some(flags) = frames.get_mut(start + FLAGS_AT) {
                *flags |= Flags::RETX.0;
            }
        }
        Some(Again { to, tag: key.0, frames, repairs: true })
    }

    /// A stream that has been silent says how far it has come.
    fn beat(&mut self, now: Instant) -> Option<Again> {
        if now < self.beat_due {
            return None;
        }
        let due = self.streams.iter_mut().find(|(_, stream)| stream.beat_at <= now);
        let Some((&(tag, lane), stream)) = due else {
            let next = self.streams.values().map(|stream| stream.beat_at).min();
            self.beat_due = next.unwrap_or(Instant(u64::MAX));
            return None;
        };
        let end = stream.first + stream.frames.len() as u64;
        let beat = Beat { lane, trail: number_at(stream.first), lead: number_at(end - 1) };
        let silent = now.since(stream.spoke) > Duration::from_millis(FORGOTTEN_MS);
        stream.beat_pause = Duration((2 * stream.beat_pause.0).min(Duration::from_millis(HEARTBEAT_MS_MAX).0));
        stream.beat_at = if silent { Instant(u64::MAX) } else { now + stream.beat_pause };
        Some(Again { to: None, tag, frames: beat.encode().to_vec(), repairs: false })
    }

    /// When [`Source::poll`] has something, if nothing happens before.
    pub(super) fn poll_timeout(&self, now: Instant, all_left: bool) -> Option<Instant> {
        if !self.replies.is_empty() {
            return Some(now);
        }
        let repair = self.due.first().map(|(due, ..)| self.pacer.wait_until(*due).unwrap_or(*due));
        let beat = Some(self.beat_due).filter(|at| all_left && at.0 != u64::MAX);
        [repair, beat].into_iter().flatten().min()
    }
}

/// One receiver asked for so much.
fn too_much(to: SocketAddr, percent: u16) -> Again {
    Again { to: Some(to), tag: 0, frames: Demote { percent }.encode().to_vec(), repairs: false }
}

/// What is kept no more.
fn gone_for_good(to: SocketAddr, (tag, lane): Key, first: u64, count: u64) -> Again {
    let count = count.min(u64::from(u32::MAX / 4)) as u32;
    let lost = RangeLost {
        topic: tag,
        lane,
        reason: LossReason::RepairWindow,
        first: number_at(first),
        count,
        messages: 0,
        sent: count,
        frame_bytes: 0,
        last_bytes: 0,
    };
    Again { to: Some(to), tag, frames: lost.encode().to_vec(), repairs: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::nak::{self, Missing, NAK_FRAME_BYTES_MAX, StreamKey};
    use crate::header::Header;
    use crate::limits::HEADER_BYTES;

    const KEY: Key = (7, 2);

    fn at(us: u64) -> Instant {
        Instant(1 + us * 1_000)
    }

    fn ask(source: &mut Source, us: u64, node: u8) {
        let mut frame = [0; NAK_FRAME_BYTES_MAX];
        let stream = StreamKey { sender: 1, tag: KEY.0, lane: KEY.1 };
        let end = nak::encode(stream, [Missing { first: 1, count: 1 }].into_iter(), &mut frame);
        let header = Header::decode(frame.first_chunk().expect("a header")).expect("sound");
        let nak = nak::decode(&header, &frame[HEADER_BYTES..end]).expect("sound");
        source.on_nak(at(us), address(node), nak);
    }

    fn address(node: u8) -> SocketAddr {
        ([198, 18, 0, node], 4_000).into()
    }

    /// To whom a repair goes at a time, if one does.
    fn repair(source: &mut Source, us: u64) -> Option<Option<SocketAddr>> {
        source.poll(at(us), 1_000, false).map(|again| again.to)
    }

    #[test]
    fn one_that_asks_alone_is_answered_alone_and_whoever_asks_next_is_answered_with_all() {
        let mut source = Source::new(0, 1_200);
        source.on_sent(at(0), KEY, [0; HEADER_BYTES].to_vec());
        ask(&mut source, 1_000, 1);
        assert_eq!(repair(&mut source, 1_499), None, "others may ask");
        assert_eq!(repair(&mut source, 1_500), Some(Some(address(1))));
        ask(&mut source, 2_000, 1);
        assert_eq!(repair(&mut source, 3_000), None, "it is on its way");
        ask(&mut source, 3_000, 2);
        assert_eq!(repair(&mut source, 3_000), Some(None));
        ask(&mut source, 4_000, 3);
        assert_eq!(repair(&mut source, 12_999), None, "it is on its way to all");
        ask(&mut source, 13_000, 3);
        assert_eq!(repair(&mut source, 13_500), Some(Some(address(3))));
    }
}
