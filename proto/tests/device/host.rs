//! A host: the real link with an application that takes what devices declare, and publishes.

use std::collections::{BTreeMap, VecDeque};

use laneway_proto::serial::Handle;
use laneway_proto::serial::control::Control;
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::hello::Role;
use laneway_proto::serial::limits::SERIAL_MTU_MAX;
use laneway_proto::serial::link::{Ended, Event, Link, Outcome, Outgoing, Setup, Source, frame_bytes, transmit_bytes};
use laneway_proto::time::Instant;

use crate::serial::end::{LANES, setup};

type HostLink = Link<LANES, 16, 64, { frame_bytes(SERIAL_MTU_MAX) }>;

/// A message to be sent.
#[derive(Clone, Debug)]
struct Queued {
    lane: u8,
    topic: u16,
    payload: Vec<u8>,
}

/// What waits and what is under way.
#[derive(Default)]
pub(crate) struct Store {
    queues: [VecDeque<Queued>; LANES],
    under_way: BTreeMap<u32, Queued>,
    next_handle: u32,
    /// What became of messages of lanes other than 0.
    pub(crate) outcomes: Vec<Outcome>,
}

impl Source for Store {
    fn next(&mut self, lane: u8) -> Option<Handle> {
        let queued = self.queues[usize::from(lane)].pop_front()?;
        self.next_handle += 1;
        self.under_way.insert(self.next_handle, queued);
        Some(Handle(self.next_handle))
    }

    fn describe(&self, message: Handle) -> Outgoing {
        let queued = &self.under_way[&message.0];
        let kind = if queued.lane == 0 { SerialKind::Ctrl } else { SerialKind::Pub };
        Outgoing { kind, topic: queued.topic, ts: None, correlation: None, bytes: queued.payload.len() as u32 }
    }

    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8] {
        &self.under_way[&message.0].payload[offset..offset + bytes]
    }
}

/// A subscription as it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: u16,
    pub(crate) filter: String,
    pub(crate) retained: bool,
}

/// The host.
pub(crate) struct Host {
    pub(crate) link: HostLink,
    setup: Setup<LANES>,
    pub(crate) store: Store,
    pub(crate) timeout: Option<Instant>,
    /// Of the session that is open: names of the device's ids, and its subscriptions.
    pub(crate) names: BTreeMap<u16, String>,
    pub(crate) wanted: Vec<Wanted>,
    /// Lane, topic and payload of each message that arrived.
    pub(crate) received: Vec<(u8, u16, Vec<u8>)>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) opened: usize,
    /// Half-duplex: the device has said so.
    pub(crate) turn_is_over: bool,
    /// The code that subscriptions are answered with.
    pub(crate) answer: u8,
    /// CREDIT: the last number of each lane that the device takes.
    pub(crate) granted: BTreeMap<u8, u16>,
    out: Vec<u8>,
}

impl Host {
    /// A host on a line of this rate.
    pub(crate) fn new(now: Instant, baud: u32, selective: bool, entropy: u32) -> Self {
        let setup = setup(Role::Host, baud, laneway_proto::serial::mtu::mtu_of_baud(baud), 4, selective);
        Self {
            link: Link::new(now, setup, entropy),
            setup,
            store: Store::default(),
            timeout: Some(now),
            names: BTreeMap::new(),
            wanted: Vec::new(),
            received: Vec::new(),
            ended: Vec::new(),
            opened: 0,
            turn_is_over: false,
            answer: 0,
            granted: BTreeMap::new(),
            out: vec![0; transmit_bytes(SERIAL_MTU_MAX)],
        }
    }

    /// The host is killed and starts again. What was under way is gone.
    pub(crate) fn restart(&mut self, now: Instant, entropy: u32) {
        self.link = Link::new(now, self.setup, entropy);
        self.store.under_way.clear();
        (0..LANES as u8).for_each(|lane| self.link.set_ready(lane));
        self.timeout = Some(now);
    }

    /// From the next start on, the device may send so many messages on this lane.
    pub(crate) fn set_credit(&mut self, lane: u8, credit: u16) {
        self.setup.lanes[usize::from(lane)].offer.credit = credit;
    }

    /// From the next start on, the line is half-duplex, and the device at this address is the peer.
    pub(crate) fn set_address(&mut self, address: u8) {
        self.setup.address = address;
    }

    /// From the next start on, the host takes and sends frames of so many bytes.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.setup.mtu = mtu;
    }

    /// From the next start on, a session is given up after so much silence.
    pub(crate) fn set_dead_ms(&mut self, ms: u16) {
        self.setup.dead_ms = ms;
    }

    /// Publishes on a topic of the device.
    pub(crate) fn publish(&mut self, now: Instant, lane: u8, topic: u16, payload: &[u8]) {
        self.store.queues[usize::from(lane)].push_back(Queued { lane, topic, payload: payload.to_vec() });
        self.link.set_ready(lane);
        self.timeout = Some(now);
    }

    /// Says a control message.
    pub(crate) fn control(&mut self, now: Instant, control: &Control<'_>) {
        let mut bytes = [0; 128];
        let count = control.encode(&mut bytes).expect("room");
        self.publish(now, 0, 0, &bytes[..count]);
    }

    /// Messages queued and under way.
    pub(crate) fn unsent(&self) -> usize {
        self.store.queues.iter().map(VecDeque::len).sum::<usize>() + self.store.under_way.len()
    }

    pub(crate) fn on_bytes(&mut self, now: Instant, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.link.on_bytes(now, bytes);
            bytes = &bytes[taken..];
            self.take_events(now);
        }
        self.timeout = Some(now);
    }

    /// Does what is due; every frame that may go now.
    pub(crate) fn service(&mut self, now: Instant) -> Vec<u8> {
        let mut sent = Vec::new();
        self.take_events(now);
        self.link.on_timeout(now);
        self.take_events(now);
        while let Some(count) = self.link.poll_transmit(now, &mut self.store, &mut self.out) {
            sent.extend_from_slice(&self.out[..count]);
            self.take_events(now);
        }
        self.timeout = self.link.poll_timeout(now);
        sent
    }

    fn take_events(&mut self, now: Instant) {
        let mut controls = Vec::new();
        while let Some(event) = self.link.poll_event() {
            match event {
                Event::Opened => {
                    self.opened += 1;
                    self.names.clear();
                    self.wanted.clear();
                    (0..LANES as u8).for_each(|lane| self.link.set_ready(lane));
                }
                Event::Ended(ended) => self.ended.push(ended),
                Event::Finished(handle, outcome) => {
                    let queued = self.store.under_way.remove(&handle.0).expect("finished once");
                    if queued.lane != 0 {
                        self.store.outcomes.push(outcome);
                    }
                }
                Event::Frame(frame) if frame.head.kind == SerialKind::Ctrl => controls.push(frame.payload.to_vec()),
                Event::Frame(frame) => {
                    assert!(frame.head.frag.is_none(), "the device sends no fragments");
                    assert!(self.names.contains_key(&frame.head.topic), "{:?} is not bound", frame.head);
                    self.received.push((frame.head.lane, frame.head.topic, frame.payload.to_vec()));
                }
                Event::TurnOver { .. } => self.turn_is_over = true,
                Event::Clock(_) => {}
            }
        }
        for control in controls {
            self.on_control(now, &control);
        }
    }

    fn on_control(&mut self, now: Instant, message: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        match Control::decode(message).expect("a control message").expect("of this version") {
            Control::Topic { topic, name, .. } => {
                self.names.insert(topic, text(name));
            }
            Control::Sub { request, topic, options, filter } => {
                let known = topic == 0 || self.names.contains_key(&topic);
                assert!(known, "a subscription to a topic without a name");
                self.wanted.push(Wanted { topic, filter: text(filter), retained: options.retained });
                self.control(now, &Control::Result { request, code: self.answer, text: b"" });
            }
            Control::Unsub { request, topic, filter } => {
                self.wanted.retain(|wanted| wanted.topic != topic || wanted.filter.as_bytes() != filter);
                self.control(now, &Control::Result { request, code: 0, text: b"" });
            }
            Control::Credit(entries) => {
                self.granted.extend(entries.limits().map(|limit| (limit.lane, limit.through)));
            }
            Control::Lost { .. } | Control::Confirm(_) | Control::Result { .. } => panic!("{message:02x?} of a device"),
        }
    }
}
