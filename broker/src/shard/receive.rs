//! Bytes from peers: frame borders are found in the buffer they arrived in, and runs of frames leave from there.

use laneway_proto::error::{CloseCode, PeerFault};
use laneway_proto::frame::confirm::CONFIRM_FRAME_BYTES_MAX;
use laneway_proto::frame::count::COUNT_FRAME_BYTES_MAX;
use laneway_proto::frame::credit;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::ping::Ping;
use laneway_proto::framing::length::{self, Front};
use laneway_proto::framing::run;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES};
use laneway_proto::session::handshake::{self, PREFACE};
use laneway_proto::session::{State, Step};

use super::{Body, Flow, Shard};
use crate::conn::Receiving;
use crate::counters::CloseReason;
use crate::inbox::{Partial, RunInfo};
use crate::io::{Io, ReceiveEnd};
use crate::pool::{BufId, Piece, Pool};
use crate::retained::TTL_NEVER;
use crate::slab::Key;

/// Spare memory for split frames kept at most.
const PARTIALS_KEPT: usize = 64;

const _: () = assert!(CONFIRM_FRAME_BYTES_MAX <= COUNT_FRAME_BYTES_MAX, "one place fits both");

/// How far a piece was worked through.
enum Progress {
    /// Go on behind this many bytes.
    Taken(u32),
    /// The way is blocked; go on with the same bytes later.
    Stalled,
}

impl<I: Io> Shard<I> {
    pub(super) fn on_received(&mut self, key: Key, buf: BufId, len: u32) {
        let Some(conn) = self.conns.at_mut(key) else {
            self.counters.completions_stale += u64::from(!self.on_port_received(key, buf, len));
            return;
        };
        conn.on_heard(self.io.now(), u64::from(len));
        self.counters.bytes_in += u64::from(len);
        if conn.is_deaf() {
            self.io.pool_mut().release(buf);
            return;
        }
        conn.inbox.push(Piece { buf, start: 0, len });
        let takes_more = conn.receiving == Receiving::Many;
        self.ingest_if_free(key);
        if takes_more && self.short_until.is_some() {
            self.stop_receiving(key);
        }
    }

    /// Works through what has arrived, unless it has to wait. What arrives during a shutdown is not accepted any more: other
    /// shards may be past it.
    pub(super) fn ingest_if_free(&mut self, key: Key) {
        let Some(conn) = self.conns.at(key) else { return };
        if !conn.is_stopped() && !conn.in_line && (self.drain.is_none() || conn.outbox.hears_credit()) {
            self.ingest(key, u32::MAX);
        }
    }

    pub(super) fn on_receive_ended(&mut self, key: Key, end: ReceiveEnd) {
        let Some(conn) = self.conns.at_mut(key) else {
            self.counters.completions_stale += u64::from(!self.on_port_receive_ended(key, end));
            return;
        };
        conn.receiving = Receiving::Off;
        match end {
            ReceiveEnd::Closed => conn.ended = Some(CloseReason::PeerLeft),
            ReceiveEnd::Failed(_) => conn.ended = Some(CloseReason::ConnectionFailed),
            ReceiveEnd::NoBuffers => self.on_short_of_buffers(key),
            ReceiveEnd::Cancelled | ReceiveEnd::Restart => {}
        }
        self.receive_again(key);
    }

    /// Works through up to `pieces_max` pieces of what has arrived from a connection, or until the way is blocked.
    pub(super) fn ingest(&mut self, key: Key, pieces_max: u32) {
        let frames_before = self.counters.frames_in;
        let mut pieces = 0;
        while pieces < pieces_max {
            let Some(conn) = self.conns.at_mut(key) else { return };
            if conn.is_stopped() || conn.is_deaf() {
                break;
            }
            if let Some(info) = conn.inbox.stalled
                && conn.inbox.partial.is_some()
            {
                if self.deliver_partial(key, info) == Flow::Stopped {
                    break;
                }
                continue;
            }
            let Some(piece) = conn.inbox.pieces.pop_front() else { break };
            pieces += 1;
            match self.consume(key, piece) {
                Ok(Progress::Taken(taken)) if taken == piece.len => self.io.pool_mut().release(piece.buf),
                Ok(Progress::Taken(taken)) => self.put_back(key, piece, taken),
                Ok(Progress::Stalled) => self.put_back(key, piece, 0),
                Err(fault) => {
                    self.io.pool_mut().release(piece.buf);
                    self.fail(key, fault);
                    return;
                }
            }
        }
        self.note_incomplete(key, self.counters.frames_in - frames_before);
        self.give_credit(key);
    }

    fn put_back(&mut self, key: Key, piece: Piece, taken: u32) {
        match self.conns.at_mut(key) {
            Some(conn) if !conn.is_deaf() => {
                let rest = Piece { start: piece.start + taken, len: piece.len - taken, ..piece };
                conn.inbox.pieces.push_front(rest);
            }
            Some(_) | None => self.io.pool_mut().release(piece.buf),
        }
    }

    fn note_incomplete(&mut self, key: Key, frames: u64) {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.frames_in += frames;
        let incomplete = conn.inbox.is_incomplete();
        if frames > 0 {
            conn.session.on_partial(now, false);
        }
        conn.session.on_partial(now, incomplete);
        // The timer that is set may be a later one: that of a handshake long over.
        if incomplete && conn.timer_at.is_none_or(|set| conn.session.poll_timeout().is_some_and(|due| due < set)) {
            self.arm_timer(key);
        }
    }

    /// Takes whole frames, and the start of one that is not whole, from the front of a piece.
    fn consume(&mut self, key: Key, piece: Piece) -> Result<Progress, PeerFault> {
        let mut taken = 0;
        while taken < piece.len {
            let Some(conn) = self.conns.at_mut(key) else { return Ok(Progress::Taken(piece.len)) };
            if conn.is_deaf() {
                return Ok(Progress::Taken(piece.len));
            }
            let rest = Piece { start: piece.start + taken, len: piece.len - taken, ..piece };
            let direct = self.take_direct(key, rest);
            if direct > 0 {
                taken += direct;
                continue;
            }
            let Some(conn) = self.conns.at_mut(key) else { return Ok(Progress::Taken(piece.len)) };
            let progress = if conn.session.state() == State::Preface {
                Progress::Taken(self.take_preface(key, rest)?)
            } else if conn.inbox.partial.is_some() {
                self.feed_partial(key, rest)?
            } else {
                self.take_front(key, rest)?
            };
            match progress {
                Progress::Taken(bytes) => taken += bytes,
                Progress::Stalled if taken == 0 => return Ok(Progress::Stalled),
                Progress::Stalled => break,
            }
            if self.conns.at(key).is_some_and(|conn| conn.is_stopped()) {
                break;
            }
        }
        Ok(Progress::Taken(taken))
    }

    fn take_preface(&mut self, key: Key, rest: Piece) -> Result<u32, PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(rest.len) };
        let missing = (PREFACE_BYTES - conn.preface.len()) as u32;
        let taken = missing.min(rest.len);
        conn.preface.extend_from_slice(self.io.pool().piece(Piece { len: taken, ..rest }));
        if !handshake::may_become_preface(&conn.preface) {
            return Err(laneway_proto::error::DecodeError::NotLaneway.into());
        }
        if let Some(preface) = conn.preface.first_chunk::<PREFACE_BYTES>() {
            conn.session.on_preface(preface)?;
            conn.preface = Vec::new();
            self.push_control_bytes(key, &PREFACE);
        }
        Ok(taken)
    }

    /// Looks at the frame in front; routes a run, handles a control frame, or starts a split frame.
    fn take_front(&mut self, key: Key, rest: Piece) -> Result<Progress, PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(Progress::Taken(rest.len)) };
        if let Some(info) = conn.inbox.stalled {
            return Ok(self.deliver_in_place(key, info, rest));
        }
        let pool = self.io.pool_mut();
        let bytes = pool.piece_mut(rest);
        let header = match length::front(bytes, FRAME_BYTES_MAX)? {
            Front::Whole(header) => header,
            Front::Partial(_) | Front::Short => {
                let partial = conn.inbox.partial.insert(self.partials.pop().unwrap_or_default());
                let copy_below = self.settings.pools.copy_below_bytes;
                let taken = partial.feed(rest, pool, copy_below, FRAME_BYTES_MAX)?;
                self.counters.frames_split += 1;
                return Ok(Progress::Taken(taken));
            }
        };
        let step = conn.session.on_frame(&header)?;
        match if conn.closing.is_some() || self.drain.is_some() { only_answers(step) } else { step } {
            Step::Route => {
                let topic = conn.topics.at(header.topic).ok_or(PeerFault::TopicUndeclared)?;
                let limit = self.settings.limits.message_bytes_max;
                let run = run::take_run(bytes, &header, topic.wire(), FRAME_BYTES_MAX, limit)?;
                let Asked { ttl_ms, receivers, retain } = Asked::of(&header, bytes);
                if retain {
                    clear_replay(bytes);
                }
                let info = RunInfo {
                    topic,
                    lane: header.lane,
                    bytes: run.bytes as u32,
                    frames: run.frames,
                    messages: run.messages,
                    seq_first: header.seq,
                    seq_through: run.seq_through,
                    receivers,
                    ttl_ms,
                    retain,
                };
                self.note_arrived(key, info.lane, info.bytes)?;
                Ok(self.deliver_in_place(key, info, rest))
            }
            step @ (Step::Control
            | Step::Ping
            | Step::Pong
            | Step::Lost
            | Step::Credit
            | Step::Count
            | Step::Confirm
            | Step::Skip
            | Step::Reject(_)) => {
                let len = usize::from(header.len);
                self.on_other_frame(key, step, &header, FrameBytes::Pooled(Piece { len: len as u32, ..rest }))?;
                Ok(Progress::Taken(len as u32))
            }
        }
    }

    fn deliver_in_place(&mut self, key: Key, info: RunInfo, rest: Piece) -> Progress {
        let piece = Piece { len: info.bytes, ..rest };
        if self.waits(key, info.lane) && self.hold_piece(key, info, piece) {
            return Progress::Taken(info.bytes);
        }
        let flow = self.deliver(key, &info, Body { head: &[], pieces: &[piece] });
        let Some(conn) = self.conns.at_mut(key) else { return Progress::Taken(rest.len) };
        match flow {
            Flow::Passed => {
                conn.inbox.stalled = None;
                self.note_routed(key, &info);
                Progress::Taken(info.bytes)
            }
            Flow::Stopped if conn.inbox.granted.is_some() => {
                self.hold_piece(key, info, piece);
                Progress::Taken(info.bytes)
            }
            Flow::Stopped => {
                conn.inbox.stalled = Some(info);
                Progress::Stalled
            }
        }
    }

    /// Adds bytes to the split frame; once it is whole, handles it.
    fn feed_partial(&mut self, key: Key, rest: Piece) -> Result<Progress, PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(Progress::Taken(rest.len)) };
        let Some(partial) = &mut conn.inbox.partial else { return Ok(Progress::Taken(0)) };
        let copy_below = self.settings.pools.copy_below_bytes;
        let taken = partial.feed(rest, self.io.pool_mut(), copy_below, FRAME_BYTES_MAX)?;
        if partial.is_whole() {
            self.on_whole_partial(key)?;
        }
        Ok(Progress::Taken(taken))
    }

    fn on_whole_partial(&mut self, key: Key) -> Result<(), PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
        let Some(partial) = &mut conn.inbox.partial else { return Ok(()) };
        let Some(&header) = partial.header() else { return Ok(()) };
        let step = conn.session.on_frame(&header)?;
        let step = if conn.closing.is_some() || self.drain.is_some() { only_answers(step) } else { step };
        if step != Step::Route {
            partial.collect(self.io.pool_mut());
            let bytes = partial.head().to_vec();
            self.recycle_partial(key);
            return self.on_other_frame(key, step, &header, FrameBytes::Copied(&bytes));
        }
        let topic = conn.topics.at(header.topic).ok_or(PeerFault::TopicUndeclared)?;
        let pool = self.io.pool_mut();
        let first = partial.held().first().copied();
        let front = match first {
            Some(piece) if partial.head().is_empty() => pool.piece(piece),
            Some(_) | None => partial.head(),
        };
        let messages = run::check_data_frame(&header, front, self.settings.limits.message_bytes_max)?;
        let Asked { ttl_ms, receivers, retain } = Asked::of(&header, front);
        let seq_through = run::seq_through(&header, front);
        let named = topic.wire().to_le_bytes();
        match first {
            Some(piece) if partial.head().is_empty() => {
                let start = piece.start as usize + 4;
                pool.bytes_mut(piece.buf)[start..start + 4].copy_from_slice(&named);
            }
            Some(_) | None => partial.head_mut()[4..8].copy_from_slice(&named),
        }
        if retain {
            clear_replay(partial.head_mut());
        }
        let info = RunInfo {
            topic,
            lane: header.lane,
            bytes: u32::from(header.len),
            frames: 1,
            messages,
            seq_first: header.seq,
            seq_through,
            receivers,
            ttl_ms,
            retain,
        };
        self.note_arrived(key, info.lane, info.bytes)?;
        self.deliver_partial(key, info);
        Ok(())
    }

    /// Routes the split frame, which is whole, checked and renamed.
    fn deliver_partial(&mut self, key: Key, info: RunInfo) -> Flow {
        if self.waits(key, info.lane) && self.hold_partial(key, info) {
            return Flow::Passed;
        }
        let taken = self.conns.at_mut(key).and_then(|conn| conn.inbox.partial.take());
        let Some(partial) = taken else { return Flow::Passed };
        let flow = self.deliver(key, &info, Body { head: partial.head(), pieces: partial.held() });
        if let Some(conn) = self.conns.at_mut(key) {
            conn.inbox.partial = Some(partial);
            conn.inbox.stalled = (flow == Flow::Stopped).then_some(info);
        }
        if flow == Flow::Stopped && self.hold_partial(key, info) {
            if let Some(conn) = self.conns.at_mut(key) {
                conn.inbox.stalled = None;
            }
            return Flow::Passed;
        }
        if flow == Flow::Passed {
            self.recycle_partial(key);
            self.note_routed(key, &info);
        }
        flow
    }

    /// A run of a publisher has been routed: its publisher is told what it wants to know, and gets its credit back.
    pub(super) fn note_routed(&mut self, key: Key, info: &RunInfo) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        if let Some(granted) = &mut conn.inbox.granted {
            granted.on_passed(info.lane, info.bytes);
        }
        let (confirms, lasts) = (conn.confirms.is_some(), conn.lasting.is_some());
        if confirms {
            self.note_accepted(key, info);
        }
        if lasts {
            self.note_received(key, info.lane, info.frames, info.bytes);
        }
    }

    fn recycle_partial(&mut self, key: Key) {
        let taken = self.conns.at_mut(key).and_then(|conn| conn.inbox.partial.take());
        if let Some(partial) = taken {
            self.recycle(partial);
        }
    }

    /// Takes the memory of a frame back that is done with.
    pub(super) fn recycle(&mut self, mut partial: Box<Partial>) {
        partial.clear(self.io.pool_mut());
        if self.partials.len() < PARTIALS_KEPT {
            self.partials.push(partial);
        }
    }

    /// A whole frame that is not routed by topic.
    fn on_other_frame(
        &mut self,
        key: Key,
        step: Step,
        header: &Header,
        bytes: FrameBytes<'_>,
    ) -> Result<(), PeerFault> {
        self.counters.frames_in += 1;
        match step {
            Step::Control => {
                let frame = bytes.all(self.io.pool());
                let control = laneway_proto::control::Control::decode_body(&frame[HEADER_BYTES..]);
                self.on_control(key, control)
            }
            Step::Ping => {
                let frame = bytes.all(self.io.pool());
                let ping = Ping::decode(&frame[HEADER_BYTES..])?;
                self.on_ping(key, ping)
            }
            Step::Credit => {
                let frame = bytes.all(self.io.pool());
                let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
                let mut more = false;
                for total in credit::decode(&frame[HEADER_BYTES..])? {
                    more |= conn.outbox.on_credit(total.lane, total.total);
                }
                if more {
                    self.mark_dirty(key);
                }
                Ok(())
            }
            Step::Count | Step::Confirm => {
                // One byte more than such a frame may have, so that a longer one is found to be one.
                let mut hot = [0; COUNT_FRAME_BYTES_MAX + 1];
                let frame = bytes.all(self.io.pool());
                let len = frame.len().min(hot.len());
                hot[..len].copy_from_slice(&frame[..len]);
                let body = &hot[HEADER_BYTES..len];
                if step == Step::Count { self.on_count(key, body) } else { self.on_given_up(key, body) }
            }
            Step::Pong | Step::Skip => Ok(()),
            Step::Lost => {
                self.note_received(key, header.lane, 1, u32::from(header.len));
                Ok(())
            }
            Step::Reject(_) => {
                self.counters.frames_rejected += 1;
                if header.kind.is_data() {
                    self.note_arrived(key, header.lane, u32::from(header.len))?;
                    self.note_passed(key, header.lane, u32::from(header.len));
                }
                // Its sender has counted it.
                if header.kind.is_data() || header.kind == Kind::LOST {
                    self.note_received(key, header.lane, 1, u32::from(header.len));
                }
                Ok(())
            }
            Step::Route => unreachable!("a frame of {} bytes that is routed never gets here", header.len),
        }
    }

    /// The peer broke a rule.
    pub(super) fn fail(&mut self, key: Key, fault: PeerFault) {
        if let Some(conn) = self.conns.at_mut(key) {
            conn.outbox.end_credit();
        }
        self.say_goodbye(key, fault.close_code(), fault.text());
    }

    /// Ends a session with a last frame behind what is queued; a stranger is closed without an answer, because it would
    /// take a frame for our preface.
    pub(super) fn say_goodbye(&mut self, key: Key, code: CloseCode, reason: &str) {
        use laneway_proto::control::{Body, Control, Goodbye};
        if self.conns.at(key).is_some_and(|conn| conn.session.state() == State::Preface) {
            self.abort(key, CloseReason::Ours(code));
            return;
        }
        let goodbye = Goodbye { code: code.number(), reason: reason.into(), drain_ms: 0 };
        self.begin_close(key, CloseReason::Ours(code), Some(Control::new(Body::Goodbye(goodbye))));
    }
}

/// What is left of a frame that arrives after the last word: a subscriber that says what it has room for, and what it has
/// received, gets what was accepted before.
fn only_answers(step: Step) -> Step {
    if matches!(step, Step::Credit | Step::Count) { step } else { Step::Skip }
}

/// A frame's bytes, wherever they are.
#[derive(Clone, Copy)]
enum FrameBytes<'a> {
    Pooled(Piece),
    Copied(&'a [u8]),
}

impl<'a> FrameBytes<'a> {
    fn all(self, pool: &'a Pool) -> &'a [u8] {
        match self {
            Self::Pooled(piece) => pool.piece(piece),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// What a frame's publisher asks for, as [`RunInfo`] has it.
#[derive(Clone, Copy, Default)]
struct Asked {
    ttl_ms: u32,
    receivers: u16,
    retain: bool,
}

impl Asked {
    /// Of a checked frame.
    fn of(header: &Header, frame: &[u8]) -> Self {
        if header.flags.0 & (Flags::SRC.0 | Flags::XHDR.0) == 0 {
            return Self::default();
        }
        let whole = frame.len().min(usize::from(header.len));
        let Ok((extensions, _)) = Extensions::decode(header.flags, &frame[HEADER_BYTES..whole]) else {
            return Self::default();
        };
        let options = extensions.xhdr.map(|xhdr| xhdr.options()).unwrap_or_default();
        let ttl_ms = match options.ttl_ms {
            None => 0,
            Some(0) => TTL_NEVER,
            Some(ttl_ms) => ttl_ms,
        };
        Self { ttl_ms, receivers: extensions.receivers_wanted(), retain: options.retain }
    }
}

/// On the frame in front: to subscribers, a retransmission that is retained is one from the store.
fn clear_replay(frame: &mut [u8]) {
    if let Some([_, _, _, flags, ..]) = frame.first_chunk_mut::<HEADER_BYTES>() {
        *flags &= !Flags::RETX.0;
    }
}
