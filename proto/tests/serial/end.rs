//! One end: the real link, an application that publishes, and an oracle that judges what arrives.

use std::collections::{BTreeMap, VecDeque};

use laneway_proto::lane::kind::LaneKind;
use laneway_proto::serial::Handle;
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::hello::{LaneOffer, Role};
use laneway_proto::serial::limits::{SERIAL_DEAD_MS_DEFAULT, SERIAL_MTU_MAX};
use laneway_proto::serial::link::{
    Ended, Event, Incoming, LaneSetup, Link, Outcome, Outgoing, Setup, Source, frame_bytes, transmit_bytes,
};
use laneway_proto::time::Instant;

pub(crate) const LANES: usize = 6;
pub(crate) const WINDOW: usize = 16;
pub(crate) type TestLink = Link<LANES, WINDOW, 64, { frame_bytes(SERIAL_MTU_MAX) }>;

/// The lanes of the standard table.
const KINDS: [(LaneKind, u8); LANES] =
    [(LaneKind::RO, 0), (LaneKind::RO, 1), (LaneKind::RU, 2), (LaneKind::US, 2), (LaneKind::UU, 3), (LaneKind::RO, 5)];

/// An end as the tests usually want it.
pub(crate) fn setup(role: Role, baud: u32, mtu: u16, window: u8, selective: bool) -> Setup<LANES> {
    let lanes = std::array::from_fn(|lane| {
        let (kind, class) = KINDS[lane];
        let window = if kind.is_reliable() { window } else { 1 };
        let offer =
            LaneOffer { lane: lane as u8, kind, level: 0, selective, window, assembly: 16 * mtu.min(2_048), credit: 0 };
        LaneSetup { offer, class, weight: 1 }
    });
    // Three signs of life of ten frames each.
    let dead_ms = SERIAL_DEAD_MS_DEFAULT.max(30 * (u32::from(mtu) + 17) * 10_000 / baud.max(9_600)) as u16;
    let (node_id, name) = if role == Role::Host { ([1; 8], "host") } else { ([2; 8], "device") };
    Setup { role, node_id, name, mtu, dead_ms, baud, topics_hash: 0, address: 0, asks_time: true, lanes }
}

/// A message: its lane, its number there, and as many more bytes as it has, all determined by these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Label {
    pub(crate) lane: u8,
    pub(crate) number: u32,
    pub(crate) bytes: u32,
}

impl Label {
    pub(crate) fn payload(self) -> Vec<u8> {
        let head = [&[self.lane][..], &self.number.to_le_bytes(), &self.bytes.to_le_bytes()].concat();
        let rest = (9..self.bytes).map(|at| (self.number.wrapping_mul(at | 1) >> 7) as u8 & 0x7F);
        head.into_iter().chain(rest).take(self.bytes as usize).collect()
    }

    /// The label of a payload, if it is whole; `None`: somebody invented it.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let lane = *payload.first()?;
        let number = u32::from_le_bytes(*payload.get(1..)?.first_chunk()?);
        let bytes = u32::from_le_bytes(*payload.get(5..)?.first_chunk()?);
        let label = Self { lane, number, bytes };
        (bytes as usize == payload.len() && label.payload() == payload).then_some(label)
    }
}

/// What an application has to send.
#[derive(Default)]
pub(crate) struct Store {
    queues: [VecDeque<Label>; LANES],
    under_way: BTreeMap<u32, (Label, Vec<u8>)>,
    next_handle: u32,
    /// The message that was taken last.
    newest: Option<Label>,
    next_number: [u32; LANES],
    /// Lanes that always have one more message, of so many bytes.
    pub(crate) endless: [Option<u32>; LANES],
    /// When each message was published, by lane and number.
    pub(crate) published: BTreeMap<(u8, u32), Instant>,
    /// What became of messages.
    pub(crate) outcomes: BTreeMap<(u8, u32), Outcome>,
}

impl Source for Store {
    fn next(&mut self, lane: u8) -> Option<Handle> {
        let at = usize::from(lane);
        let label = self.queues[at].pop_front().or_else(|| {
            let bytes = self.endless[at]?;
            self.next_number[at] += 1;
            Some(Label { lane, number: self.next_number[at], bytes })
        })?;
        self.next_handle += 1;
        self.newest = Some(label);
        self.under_way.insert(self.next_handle, (label, label.payload()));
        Some(Handle(self.next_handle))
    }

    fn describe(&self, message: Handle) -> Outgoing {
        let (label, payload) = &self.under_way[&message.0];
        let (kind, topic) = if label.lane == 0 { (SerialKind::Ctrl, 0) } else { (SerialKind::Pub, 0x4000) };
        Outgoing { kind, topic, ts: None, correlation: None, bytes: payload.len() as u32 }
    }

    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8] {
        &self.under_way[&message.0].1[offset..offset + bytes]
    }
}

/// What an application has received in the session that is open.
#[derive(Default)]
pub(crate) struct Seen {
    partial: [Vec<u8>; LANES],
    last: [u32; LANES],
    numbers: [std::collections::BTreeSet<u32>; LANES],
}

pub(crate) struct End {
    pub(crate) link: TestLink,
    setup: Setup<LANES>,
    pub(crate) store: Store,
    seen: Seen,
    /// Every message that arrived, with its time.
    pub(crate) received: Vec<(Instant, Label)>,
    pub(crate) opened: Vec<Instant>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) timeout: Option<Instant>,
    /// The oracle allows holes on reliable lanes where the peer was told of them; it never allows them silently.
    pub(crate) payload_bytes: u64,
    /// When the first byte of each message was first on the line.
    pub(crate) first_sent: BTreeMap<(u8, u32), Instant>,
    out: Vec<u8>,
}

impl End {
    pub(crate) fn new(now: Instant, setup: Setup<LANES>, entropy: u32) -> Self {
        Self {
            link: Link::new(now, setup, entropy),
            setup,
            store: Store::default(),
            seen: Seen::default(),
            received: Vec::new(),
            opened: Vec::new(),
            ended: Vec::new(),
            timeout: Some(now),
            payload_bytes: 0,
            first_sent: BTreeMap::new(),
            out: vec![0; transmit_bytes(usize::from(setup.mtu))],
        }
    }

    /// Publishes a message; returns its number.
    pub(crate) fn publish(&mut self, now: Instant, lane: u8, bytes: u32) -> u32 {
        let at = usize::from(lane);
        self.store.next_number[at] += 1;
        let number = self.store.next_number[at];
        self.store.queues[at].push_back(Label { lane, number, bytes });
        self.store.published.insert((lane, number), now);
        self.link.set_ready(lane);
        self.timeout = Some(now);
        number
    }

    /// From now on the lane always has one more message of so many bytes.
    pub(crate) fn publish_endlessly(&mut self, now: Instant, lane: u8, bytes: u32) {
        self.store.endless[usize::from(lane)] = Some(bytes);
        self.link.set_ready(lane);
        self.timeout = Some(now);
    }

    /// Whether a message of the lane waits for its turn.
    pub(crate) fn has_queued(&self, lane: u8) -> bool {
        !self.store.queues[usize::from(lane)].is_empty()
    }

    /// Messages queued and under way.
    pub(crate) fn unsent(&self) -> usize {
        self.store.queues.iter().map(VecDeque::len).sum::<usize>() + self.store.under_way.len()
    }

    pub(crate) fn restart(&mut self, now: Instant, entropy: u32) {
        self.link = Link::new(now, self.setup, entropy);
        self.seen = Seen::default();
        for (_, (label, _)) in std::mem::take(&mut self.store.under_way) {
            self.store.outcomes.insert((label.lane, label.number), Outcome::Maybe);
        }
        (0..LANES as u8).for_each(|lane| self.link.set_ready(lane));
        self.timeout = Some(now);
    }

    pub(crate) fn on_byte(&mut self, now: Instant, byte: u8) {
        if self.link.on_bytes(now, &[byte]) == 0 {
            self.take_events(now);
            assert_eq!(self.link.on_bytes(now, &[byte]), 1, "all events were taken");
        }
        self.take_events(now);
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        self.link.on_timeout(now);
        self.take_events(now);
    }

    pub(crate) fn transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let began = self.link.free_at().max(now);
        self.store.newest = None;
        let bytes = self.link.poll_transmit(now, &mut self.store, &mut self.out);
        let frame = bytes.map(|bytes| self.out[..bytes].to_vec());
        if let Some(label) = self.store.newest {
            self.first_sent.insert((label.lane, label.number), began);
        }
        self.take_events(now);
        frame
    }

    pub(crate) fn plan(&mut self, now: Instant) {
        self.timeout = self.link.poll_timeout(now);
        assert!(
            self.timeout.is_none_or(|due| due > now),
            "it has just been asked, and wants to be asked now: {self:?}"
        );
    }

    pub(crate) fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Opened => {
                    self.opened.push(now);
                    self.seen = Seen::default();
                }
                Event::Ended(ended) => self.ended.push(ended),
                Event::Finished(handle, outcome) => {
                    let (label, _) = self.store.under_way.remove(&handle.0).expect("finished once");
                    self.store.outcomes.insert((label.lane, label.number), outcome);
                }
                Event::Frame(frame) => {
                    let label = self.seen.judge(&frame);
                    self.received.extend(label.map(|label| (now, label)));
                    self.payload_bytes += frame.payload.len() as u64;
                }
                Event::Clock(_) | Event::TurnOver { .. } => {}
            }
        }
    }
}

impl std::fmt::Debug for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("End")
            .field("nonces", &self.link.nonces())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// The message that the frame completes. Panics if its lane must not deliver it.
    fn judge(&mut self, frame: &Incoming<'_>) -> Option<Label> {
        let Incoming { head, payload, .. } = frame;
        let at = usize::from(head.lane);
        let whole = match head.frag {
            None => payload.to_vec(),
            Some(frag) => {
                let (kind, _) = KINDS[at];
                if frag.index == 0 {
                    assert!(!kind.is_reliable() || self.partial[at].is_empty(), "a message begins inside another");
                    self.partial[at].clear();
                } else if frame.missed > 0 {
                    self.partial[at].clear();
                    return None;
                } else if self.partial[at].is_empty() {
                    assert!(!kind.is_reliable(), "a message without its beginning");
                    return None;
                }
                self.partial[at].extend_from_slice(payload);
                if frag.index + 1 < frag.count {
                    return None;
                }
                std::mem::take(&mut self.partial[at])
            }
        };
        let label = Label::of(&whole).unwrap_or_else(|| panic!("nobody sent {whole:02x?} on lane {at}"));
        assert_eq!(usize::from(label.lane), at, "a message on another lane than its own");
        let (kind, _) = KINDS[at];
        assert!(self.numbers[at].insert(label.number), "{label:?} came twice in a session");
        match kind {
            // Numbers of one session have no holes; the first may be any: an earlier session had those before it.
            LaneKind::RO => {
                assert!(self.last[at] == 0 || label.number == self.last[at] + 1, "{label:?} behind {}", self.last[at])
            }
            LaneKind::US | LaneKind::UU => assert!(label.number > self.last[at], "{label:?} behind {}", self.last[at]),
            LaneKind::RU => {}
        }
        self.last[at] = self.last[at].max(label.number);
        Some(label)
    }
}
