//! Frames that arrived, on their way into the owner's stream.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::super::loss::RangeLost;
use super::super::outbound::FrameSlot;
use super::super::sent::SentSlot;
use super::super::session::{NewestSlot, OWN_PING, Session, Upper};
use super::assembly::{Assemblies, Whole};
use crate::frame::credit;
use crate::frame::extensions::Extensions;
use crate::frame::lost::{LOST_FRAME_BYTES, Lost};
use crate::frame::ping::Pong;
use crate::header::{Flags, Header, Kind};
use crate::lane::kind::LaneKind;
use crate::lane::table::LaneTable;
use crate::limits::{HEADER_BYTES, LANE_CREDIT_BYTES_DEFAULT, LANES_MAX};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Inward {
    /// The owner's stream.
    pub(super) up: Vec<u8>,
    pub(super) has_room: bool,
    pub(super) now: Instant,
    /// Whether this side is the broker: it gives frames without SRC no number.
    broker: bool,
    kinds: [Option<LaneKind>; LANES_MAX],
    /// Frames that came early.
    kept: BTreeMap<(u8, u32), Vec<u8>>,
    assemblies: Assemblies,
    /// What the peer gives, by lane.
    pub(super) credited: [u64; LANES_MAX],
    /// What the owner gives, if it does.
    pub(super) granted: Option<[u64; LANES_MAX]>,
    /// Bytes of data frames that the owner got, by lane.
    delivered: [u64; LANES_MAX],
    /// Bytes that arrived and that it did not get: the peer has spent credit on them.
    extra: [u64; LANES_MAX],
    /// Lanes (a bit each) of which `extra` has grown.
    regranted: u16,
    pub(super) pongs: Vec<Pong>,
    /// Messages of US lanes that are whole, until it is known whether they are the newest.
    newest: Vec<Whole>,
    pub(super) fault: bool,
}

impl Inward {
    pub(super) fn new(lanes: &LaneTable, broker: bool) -> Self {
        let mut inward = Self {
            up: Vec::new(),
            has_room: true,
            now: Instant(0),
            broker,
            kinds: [None; LANES_MAX],
            kept: BTreeMap::new(),
            assemblies: Assemblies::default(),
            credited: [0; LANES_MAX],
            granted: None,
            delivered: [0; LANES_MAX],
            extra: [0; LANES_MAX],
            regranted: 0,
            pongs: Vec::new(),
            newest: Vec::new(),
            fault: false,
        };
        inward.set_lanes(lanes);
        inward
    }

    pub(super) fn set_lanes(&mut self, lanes: &LaneTable) {
        self.kinds = [None; LANES_MAX];
        lanes.iter().for_each(|(number, lane)| self.kinds[usize::from(number)] = Some(lane.kind));
    }

    /// The owner gives credit, at first these totals.
    pub(super) fn give_first(&mut self, totals: &[u64]) {
        self.granted =
            Some(core::array::from_fn(|lane| totals.get(lane).copied().unwrap_or(LANE_CREDIT_BYTES_DEFAULT)));
    }

    pub(super) fn grant(&mut self, lane: u8, total: u64) {
        if let Some(granted) = &mut self.granted {
            let place = &mut granted[usize::from(lane)];
            *place = total.max(*place);
        }
    }

    /// What the peer is told that it may send.
    pub(super) fn allowed(&self, lane: u8) -> u64 {
        let granted = self.granted.as_ref().map_or(0, |granted| granted[usize::from(lane)]);
        granted + self.extra[usize::from(lane)]
    }

    /// Lanes of which the peer may send more since the last call, because something was dropped here.
    pub(super) fn take_regranted(&mut self) -> impl Iterator<Item = u8> + use<> {
        let lanes = if self.granted.is_some() { core::mem::take(&mut self.regranted) } else { 0 };
        (1..LANES_MAX as u8).filter(move |lane| lanes & 1 << lane != 0)
    }

    fn give_back(&mut self, lane: u8, bytes: u64) {
        self.extra[usize::from(lane)] += bytes;
        self.regranted |= 1 << lane;
    }

    /// The first CTRL frame of the peer.
    pub(super) fn put_control(&mut self, frame: &[u8]) {
        self.up.extend_from_slice(frame);
    }

    /// Messages of US lanes in fragments: those that are the newest are delivered.
    pub(super) fn take_newest<F, P, W, K>(&mut self, now: Instant, session: &mut Session<F, P, W, K>)
    where
        F: AsRef<[FrameSlot]> + AsMut<[FrameSlot]>,
        P: AsRef<[SentSlot]> + AsMut<[SentSlot]>,
        W: AsRef<[u64]> + AsMut<[u64]>,
        K: AsRef<[NewestSlot]> + AsMut<[NewestSlot]>,
    {
        for whole in core::mem::take(&mut self.newest) {
            if session.accepts_newest(now, &whole.header, whole.number) {
                self.put_whole(&whole);
            } else {
                self.give_back(whole.header.lane, whole.counted);
            }
        }
    }

    /// What a frame's number is to the owner: that of its message with its publisher, if it says so.
    fn number_of(&self, header: &Header, frame: &[u8]) -> u32 {
        let src = || Extensions::decode(header.flags, frame.get(HEADER_BYTES..)?).ok()?.0.src;
        match header.flags.has(Flags::SRC).then(src).flatten() {
            Some(src) => src.seq,
            None if self.broker => 0,
            None => header.seq,
        }
    }

    /// Puts a data frame into the owner's stream, if there is credit for it.
    fn put_data(&mut self, header: &Header, frame: &[u8], counted: u64) {
        let lane = usize::from(header.lane);
        let reliable = self.kinds[lane].is_some_and(LaneKind::is_reliable);
        let room =
            self.granted.as_ref().map_or(u64::MAX, |granted| granted[lane] - self.delivered[lane].min(granted[lane]));
        if !reliable && frame.len() as u64 > room {
            self.give_back(header.lane, counted);
            return;
        }
        self.delivered[lane] += frame.len() as u64;
        let number = self.number_of(header, frame);
        let plain = Header { seq: number, flags: Flags(header.flags.0 & !Flags::RETX.0), ..*header };
        self.up.extend_from_slice(&plain.encode());
        self.up.extend_from_slice(&frame[HEADER_BYTES..]);
    }

    /// Puts a message that was put together into the owner's stream.
    fn put_whole(&mut self, whole: &Whole) {
        match whole.header.kind {
            Kind::CTRL => {
                let header = Header { seq: 0, lane: 0, flags: Flags(0), ..whole.header };
                self.up.extend_from_slice(&header.encode());
                self.up.extend_from_slice(&whole.body);
            }
            _ => {
                let frame = [&whole.header.encode()[..], &whole.body].concat();
                self.put_data(&whole.header, &frame, whole.counted);
            }
        }
    }

    /// A frame whose turn it is.
    fn put(&mut self, header: &Header, frame: &[u8]) {
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match header.kind {
            Kind::PUB | Kind::CTRL if header.flags.has(Flags::FRAG) => self.on_fragment(header, body),
            Kind::PUB | Kind::BATCH => self.put_data(header, frame, u64::from(header.len)),
            Kind::CREDIT => {
                for total in credit::decode(body).into_iter().flatten() {
                    let place = &mut self.credited[usize::from(total.lane)];
                    *place = total.total.max(*place);
                }
            }
            Kind::PONG => {
                let pong = Pong::decode(body).ok();
                self.pongs.extend(pong.filter(|pong| pong.t0 & OWN_PING == 0));
            }
            // Messages are counted in the order of the stream, so there is no number.
            _ => {
                let plain = Header { seq: 0, flags: Flags(header.flags.0 & !Flags::RETX.0), ..*header };
                self.up.extend_from_slice(&plain.encode());
                self.up.extend_from_slice(body);
            }
        }
    }

    fn on_fragment(&mut self, header: &Header, body: &[u8]) {
        let kind = self.kinds[usize::from(header.lane)].unwrap_or(LaneKind::UU);
        let mut dropped = 0;
        let mut whole = Vec::new();
        let taken =
            self.assemblies.on_fragment(self.now, kind, header, body, &mut |part| whole.push(part), &mut dropped);
        self.fault |= taken.is_none();
        if dropped > 0 {
            self.give_back(header.lane, dropped);
        }
        for part in whole {
            if kind == LaneKind::US {
                self.newest.push(part);
            } else {
                self.put_whole(&part);
            }
        }
    }
}

impl Upper for Inward {
    fn has_room(&self) -> bool {
        self.has_room
    }

    fn deliver(&mut self, header: &Header, frame: &[u8]) {
        self.put(header, frame);
    }

    fn keep(&mut self, header: &Header, frame: &[u8]) {
        self.kept.insert((header.lane, header.seq), frame.to_vec());
    }

    fn release(&mut self, lane: u8, seq: u32) {
        let Some(frame) = self.kept.remove(&(lane, seq)) else { return };
        let header = frame.first_chunk::<HEADER_BYTES>().map(Header::decode);
        if let Some(Ok(header)) = header {
            self.put(&header, &frame);
        }
    }

    fn forget(&mut self, lane: u8, seq: u32) {
        self.kept.remove(&(lane, seq));
    }

    fn lost(&mut self, lost: &RangeLost) {
        self.assemblies.forget(lost.lane, lost.first, lost.count);
        if lost.messages == 0 {
            return;
        }
        let RangeLost { topic, lane, reason, messages, .. } = *lost;
        let frame: [u8; LOST_FRAME_BYTES] = Lost { topic, lane, reason, first: 0, count: messages }.encode();
        self.up.extend_from_slice(&frame);
    }

    fn outdated(&mut self, header: &Header) {
        self.give_back(header.lane, u64::from(header.len));
    }
}
