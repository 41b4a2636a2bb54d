//! A device: the link's machine as a microcontroller runs it, with an application that publishes and subscribes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_proto::frame::lost::LossReason;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::serial::control::{Control, SubOptions};
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::hello::{LaneOffer, Role};
use laneway_proto::serial::limits::{SERIAL_DEAD_MS_DEFAULT, SERIAL_MTU_MAX};
use laneway_proto::serial::link::{
    Ended, Event, Incoming, LaneSetup, Link, Outcome, Setup, frame_bytes, transmit_bytes,
};
use laneway_proto::serial::mtu::mtu_of_baud;
use laneway_proto::time::Instant as Ticks;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::pty::{open, read};
use super::store::{Letter, Store};
use crate::real::process::GUARD;

/// Lanes it takes part in at most: those of the standard table.
pub(super) const LANES: usize = 6;
/// Its longest sleep.
const TICK: Duration = Duration::from_millis(5);

type DeviceLink = Link<LANES, 16, 32, { frame_bytes(SERIAL_MTU_MAX) }>;

/// What a device is made of.
#[derive(Clone, Debug)]
pub struct Make {
    /// Bits per second.
    pub baud: u32,
    /// Its id.
    pub node_id: [u8; 8],
    /// Frames under way on reliable lanes.
    pub window: u8,
    /// Bytes of messages it puts together.
    pub assembly: u16,
    /// What it publishes on: id, name, and whether to keep the last value.
    pub topics: Vec<(u16, &'static str, bool)>,
    /// What it subscribes to.
    pub filters: Vec<&'static str>,
    /// Its address on a half-duplex line; 0: it has its line for itself.
    pub address: u8,
    /// It publishes what it gets on this topic; 0: it does not.
    pub echo: u16,
}

/// A message that arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Got {
    /// Its lane.
    pub lane: u8,
    /// Its topic's name.
    pub topic: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What a device has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Sessions that were opened, and when the last one was.
    pub opened: u32,
    /// When the session that is open has its topics and subscriptions; the number of such sessions.
    pub ready: u32,
    /// How sessions ended.
    pub ended: Vec<Ended>,
    /// Messages, in their order.
    pub got: Vec<Got>,
    /// Answers: request and code.
    pub results: Vec<(u8, u8)>,
    /// Reports of losses: lane, reason, how many.
    pub lost: Vec<(u8, LossReason, u32)>,
    /// Messages that arrived at the other end, or were sent where that is all there is.
    pub delivered: u32,
    /// Messages of which nobody knows.
    pub maybe: u32,
}

#[derive(Debug)]
enum Wish {
    Publish(u8, u16, Vec<u8>),
    Reset,
}

/// A running device; switched off when it is dropped.
#[derive(Debug)]
pub struct Device {
    wishes: Option<Sender<Wish>>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Make {
    /// One at 115,200 bits per second that takes four frames and messages of a kilobyte.
    pub fn new() -> Self {
        let (topics, filters) = (Vec::new(), Vec::new());
        Self { baud: 115_200, node_id: *b"probe-01", window: 4, assembly: 1_024, topics, filters, address: 0, echo: 0 }
    }

    fn setup(&self) -> Setup<LANES> {
        let mtu = mtu_of_baud(self.baud);
        let lanes = std::array::from_fn(|lane| {
            let spec = LaneTable::STANDARD.get(lane as u8).expect("six standard lanes");
            let window = if spec.kind.is_reliable() { self.window } else { 1 };
            let (kind, assembly) = (spec.kind, self.assembly);
            let offer = LaneOffer { lane: lane as u8, kind, level: 0, selective: true, window, assembly, credit: 0 };
            LaneSetup { offer, class: spec.class, weight: spec.weight }
        });
        Setup {
            role: Role::Device,
            node_id: self.node_id,
            name: "probe",
            mtu,
            // Where devices take turns, it hears of the host once a round only.
            dead_ms: SERIAL_DEAD_MS_DEFAULT as u16 * if self.address > 0 { 4 } else { 1 },
            baud: self.baud,
            topics_hash: 0,
            address: self.address,
            asks_time: false,
            lanes,
        }
    }

    /// Switches it on, at the port `path`.
    pub fn start(self, path: &Path) -> Device {
        let (wishes, wanted) = mpsc::channel();
        let seen = Arc::default();
        let mut running = Running::new(self, open(path), Arc::clone(&seen));
        let thread = std::thread::spawn(move || while running.turn(&wanted) {});
        Device { wishes: Some(wishes), seen, thread: Some(thread) }
    }
}

impl Default for Make {
    fn default() -> Self {
        Self::new()
    }
}

impl Device {
    fn wish(&self, wish: Wish) {
        let sent = self.wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok());
        assert!(sent, "the device runs");
    }

    /// Publishes, once its topics are known.
    pub fn publish(&self, lane: u8, topic: u16, payload: impl Into<Vec<u8>>) {
        self.wish(Wish::Publish(lane, topic, payload.into()));
    }

    /// Presses its reset button: it knows nothing any more.
    pub fn reset(&self) {
        self.wish(Wish::Reset);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.0.lock().expect("the device does not fail")
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Waits until it has seen what is `wanted`.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let until = Instant::now() + GUARD;
        let mut seen = self.lock();
        while !wanted(&seen) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the device waits for {what} in vain: {seen:?}");
            seen = self.seen.1.wait_timeout(seen, left).expect("the device does not fail").0;
        }
        seen.clone()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            let over = thread.join();
            assert!(over.is_ok() || std::thread::panicking(), "the device has failed");
        }
    }
}

/// What no device had before when it was switched on: with the same, its session would be taken for the one before it.
fn entropy() -> u32 {
    static STARTS: AtomicU32 = AtomicU32::new(0);
    std::process::id() ^ 0x5EED ^ STARTS.fetch_add(1, Ordering::Relaxed) << 20
}

struct Running {
    make: Make,
    port: File,
    start: Instant,
    link: Box<DeviceLink>,
    store: Store,
    names: BTreeMap<u16, String>,
    parts: [Vec<u8>; LANES],
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Running {
    fn new(make: Make, port: File, seen: Arc<(Mutex<Seen>, Condvar)>) -> Self {
        let start = Instant::now();
        let link = Box::new(Link::new(Ticks(0), make.setup(), entropy()));
        let (store, names, parts) = Default::default();
        Self { make, port, start, link, store, names, parts, seen }
    }

    fn now(&self) -> Ticks {
        Ticks(self.start.elapsed().as_nanos() as u64)
    }

    /// False if it was switched off.
    fn turn(&mut self, wanted: &Receiver<Wish>) -> bool {
        loop {
            match wanted.try_recv() {
                Ok(Wish::Publish(lane, topic, payload)) => {
                    self.store.queues[usize::from(lane)].push_back((SerialKind::Pub, topic, payload));
                }
                Ok(Wish::Reset) => self.reset(),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        let now = self.now();
        self.link.on_timeout(now);
        self.take_events();
        let bytes = read(&mut self.port);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.link.on_bytes(now, rest);
            rest = &rest[taken..];
            self.take_events();
        }
        self.transmit(now);
        let due = self.link.poll_timeout(now).map_or(TICK, |at| Duration::from_nanos(at.since(now).0));
        let due = PollTimeout::try_from(due.clamp(Duration::from_millis(1), TICK)).expect("a few milliseconds");
        let _ = poll(&mut [PollFd::new(self.port.as_fd(), PollFlags::POLLIN)], due);
        true
    }

    fn transmit(&mut self, now: Ticks) {
        let mut out = [0; transmit_bytes(SERIAL_MTU_MAX)];
        let undeclared = self.store.undeclared > 0;
        for lane in (0..LANES).filter(|&lane| lane == 0 || !undeclared) {
            if !self.store.queues[lane].is_empty() {
                self.link.set_ready(lane as u8);
            }
        }
        while let Some(bytes) = self.link.poll_transmit(now, &mut self.store, &mut out) {
            // What finds no room is lost, as on a line.
            let _ = self.port.write(&out[..bytes]);
            self.take_events();
        }
        self.take_events();
    }

    fn reset(&mut self) {
        let now = self.now();
        *self.link = Link::new(now, self.make.setup(), entropy());
        (self.store, self.names, self.parts) = Default::default();
    }

    fn begin(&mut self) {
        let mut controls = Vec::new();
        for &(topic, name, retain) in &self.make.topics {
            self.names.insert(topic, name.to_owned());
            controls.push(control(&Control::Topic { topic, retain, name: name.as_bytes() }));
        }
        for (request, filter) in (1..).zip(&self.make.filters) {
            let options = SubOptions::default();
            controls.push(control(&Control::Sub { request, topic: 0, options, filter: filter.as_bytes() }));
        }
        self.store.undeclared = controls.len();
        self.store.queues[0] = controls.into();
        self.parts = Default::default();
    }

    fn take_events(&mut self) {
        let seen = Arc::clone(&self.seen);
        let mut seen_now = seen.0.lock().expect("nobody fails while holding it");
        loop {
            match self.link.poll_event() {
                None => break,
                Some(Event::Opened) => {
                    seen_now.opened += 1;
                    self.begin();
                    seen_now.ready += u32::from(self.store.undeclared == 0);
                }
                Some(Event::Ended(ended)) => {
                    seen_now.ended.push(ended);
                    self.names.clear();
                }
                Some(Event::Finished(handle, outcome)) => {
                    let Some((lane, _)) = self.store.finish(handle) else { continue };
                    if outcome == Outcome::Maybe {
                        seen_now.maybe += u32::from(lane > 0);
                    } else if lane > 0 {
                        seen_now.delivered += 1;
                    } else if self.store.undeclared > 0 {
                        self.store.undeclared -= 1;
                        seen_now.ready += u32::from(self.store.undeclared == 0);
                    }
                }
                Some(Event::Frame(frame)) => {
                    let before = seen_now.got.len();
                    on_frame(&frame, &mut self.parts, &mut self.names, &mut seen_now);
                    if let Some(got) = seen_now.got.get(before).filter(|_| self.make.echo != 0) {
                        let letter = (SerialKind::Pub, self.make.echo, got.payload.clone());
                        self.store.queues[usize::from(got.lane)].push_back(letter);
                    }
                }
                Some(Event::Clock(_) | Event::TurnOver { .. }) => {}
            }
        }
        seen.1.notify_all();
    }
}

fn control(control: &Control<'_>) -> Letter {
    let mut bytes = vec![0; 300];
    let written = control.encode(&mut bytes).expect("it fits");
    bytes.truncate(written);
    (SerialKind::Ctrl, 0, bytes)
}

fn on_frame(frame: &Incoming<'_>, parts: &mut [Vec<u8>; LANES], names: &mut BTreeMap<u16, String>, seen: &mut Seen) {
    let head = frame.head;
    let part = &mut parts[usize::from(head.lane)];
    let whole = match head.frag {
        None => frame.payload.to_vec(),
        Some(frag) => {
            if frag.index == 0 {
                part.clear();
            }
            part.extend_from_slice(frame.payload);
            if frag.index + 1 < frag.count {
                return;
            }
            std::mem::take(part)
        }
    };
    if head.kind == SerialKind::Pub {
        let topic = names.get(&head.topic).cloned().unwrap_or_else(|| format!("unknown {:#x}", head.topic));
        seen.got.push(Got { lane: head.lane, topic, payload: whole });
        return;
    }
    match Control::decode(&whole).expect("the host says what can be read") {
        Some(Control::Topic { topic, name, .. }) => {
            names.insert(topic, String::from_utf8_lossy(name).into_owned());
        }
        Some(Control::Result { request, code, .. }) => seen.results.push((request, code)),
        Some(Control::Lost { lane, reason, count }) => seen.lost.push((lane, reason, count)),
        Some(Control::Sub { .. } | Control::Unsub { .. } | Control::Credit(_) | Control::Confirm(_)) | None => {}
    }
}
