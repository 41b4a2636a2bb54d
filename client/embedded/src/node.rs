//! What a device is between two turns of its loop: everything but the bytes that arrive. Callbacks get it, too.

use crate::config::{Config, Kind, Lane as LaneNumber, Subscription, window};
use crate::event::{Code, Counters, Event, Refused, Topic};
use crate::lane::{Lane, Slot};
use crate::limits::{DEAD_MS_DEFAULT, DEAD_MS_MIN, OVERHEAD_BYTES, TOPIC_DEVICE_FIRST, TOPIC_HOST_FIRST, mtu_of_baud};
use crate::link::Link;
use crate::topics::{self, Entry, FILTER, RETAIN, SAY_SUB, SAY_TOPIC, SAY_UNSUB, UNFIT};
use crate::transmit::Frame;

/// The application's callback, as one pointer.
pub(crate) struct Tell<'t, 'd>(pub(crate) &'t mut dyn FnMut(&mut Node<'d>, Event<'_>));

impl<'d> Tell<'_, 'd> {
    #[inline(never)]
    pub(crate) fn tell(&mut self, node: &mut Node<'d>, event: Event<'_>) {
        (self.0)(node, event);
    }
}

/// A device without the bytes that arrive: it publishes, subscribes and counts. [`crate::Device`] passes its calls on to
/// it, and callbacks get it, so that they can do all that the main loop can.
#[derive(Debug)]
#[repr(C)]
pub struct Node<'d> {
    pub(crate) bad_in_a_row: u8,
    /// Something of the table of topics is to be said.
    pub(crate) has_to_say: bool,
    /// Payload bytes of a frame: what this side takes, and what both take.
    pub(crate) mtu: u16,
    pub(crate) payload: u16,
    pub(crate) link: Link,
    pub(crate) lanes: &'d mut [Lane],
    pub(crate) slots: &'d mut [Slot],
    pub(crate) transmit: &'d mut [u8],
    pub(crate) topics: &'d mut [Entry],
    pub(crate) data: &'d mut [u8],
    /// Slots of a lane, and payload bytes of a slot.
    pub(crate) window: usize,
    pub(crate) message: usize,
    pub(crate) config: &'d Config,
    /// Microseconds: a byte on the line (in sixteenths), and how long the session lives without a good frame.
    pub(crate) byte_us16: u32,
    pub(crate) dead_us: u32,
    pub(crate) now: u32,
    /// Until something is due.
    pub(crate) sleep: u32,
    /// When the last good frame came, the last one went, and everything has left the line.
    pub(crate) heard: u32,
    pub(crate) said: u32,
    pub(crate) free_at: u32,
    /// What of the transmit buffer has not been written.
    pub(crate) transmit_at: usize,
    pub(crate) transmit_end: usize,
    /// The host asked for the time: its clock, and when.
    pub(crate) asked: Option<(u32, u32)>,
    pub(crate) counters: Counters,
    /// Host: the number of a request that is to be answered.
    #[cfg(feature = "host")]
    pub(crate) answer: u8,
}

impl<'d> Node<'d> {
    #[expect(clippy::too_many_arguments, reason = "the parts of the memory")]
    pub(crate) fn new(
        config: &'d Config,
        entropy: u32,
        lanes: &'d mut [Lane],
        slots: &'d mut [Slot],
        data: &'d mut [u8],
        topics: &'d mut [Entry],
        transmit: &'d mut [u8],
        (size, message): (usize, usize),
    ) -> Self {
        let count = lanes.len().min(config.lanes.len());
        let lanes = lanes.get_mut(..count).unwrap_or_default();
        let mut setups = config.lanes;
        for lane in lanes.iter_mut() {
            if let Some((setup, rest)) = setups.split_first() {
                *lane = Lane::EMPTY;
                lane.set_up(setup, window(size));
                setups = rest;
            }
        }
        for entry in topics.iter_mut() {
            *entry = Entry::FREE;
        }
        let mtu = mtu_of_baud(config.baud).min(message as u16);
        let byte_us16 = 160_000_000_u32.checked_div(config.baud).unwrap_or_default();
        let dead_ms = match config.dead_ms {
            0 => DEAD_MS_DEFAULT.max(((u32::from(mtu + OVERHEAD_BYTES) * byte_us16) >> 9) as u16),
            wanted => wanted.max(DEAD_MS_MIN),
        };
        Self {
            config,
            lanes,
            slots,
            data,
            topics,
            transmit,
            window: size,
            message,
            link: Link::new(entropy),
            mtu,
            payload: mtu,
            byte_us16,
            dead_us: u32::from(dead_ms) * 1_000,
            now: 0,
            sleep: 0,
            heard: 0,
            said: 0,
            free_at: 0,
            transmit_at: 0,
            transmit_end: 0,
            asked: None,
            bad_in_a_row: 0,
            has_to_say: true,
            counters: Counters::default(),
            #[cfg(feature = "host")]
            answer: 0,
        }
    }

    /// Whether a session is open.
    pub const fn is_open(&self) -> bool {
        self.link.is_open()
    }

    /// Payload bytes of a message on this link, at most.
    pub const fn message_bytes_max(&self) -> usize {
        self.payload as usize
    }

    /// What has been seen.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether this side plays the host.
    pub(crate) const fn is_host(&self) -> bool {
        #[cfg(feature = "host")]
        return self.config.is_host;
        #[cfg(not(feature = "host"))]
        false
    }

    /// The first id that this side binds, and the first one of the peer.
    pub(crate) const fn first_ids(&self) -> (u16, u16) {
        if self.is_host() { (TOPIC_HOST_FIRST, TOPIC_DEVICE_FIRST) } else { (TOPIC_DEVICE_FIRST, TOPIC_HOST_FIRST) }
    }

    /// Begins to seek a host, and seeks a new session whenever one ends, until [`Self::disconnect`]. `now`: microseconds
    /// of the device's clock, which wraps.
    pub fn connect(&mut self, now: u32) {
        (self.now, self.free_at, self.said) = (now, now, now);
        self.link.seek(now);
    }

    /// Ends the session ([`Code::SHUTDOWN`]: the device goes to sleep) and stays silent. The next [`crate::Device::poll`]
    /// sends the farewell and tells [`Event::Closed`].
    pub fn disconnect(&mut self, code: Code) {
        self.link.leaving = Some(code);
    }

    /// A topic to publish on; `retain`: the broker keeps the last value for later subscribers. The same name is the same
    /// topic.
    ///
    /// `None`: there is no room, the name is empty or a filter, or it has more bytes than a message less 4.
    pub fn topic(&mut self, name: &'static str, retain: bool) -> Option<Topic> {
        if topics::is_filter(name) {
            return None;
        }
        self.enter(name, 4, if retain { RETAIN | SAY_TOPIC } else { 0 })
    }

    /// Subscribes to a topic, or a filter with `+` and `#`, in this and every later session; a new subscription of the
    /// same name replaces the old one. Its messages are [`Event::Message`].
    ///
    /// `None`: there is no room, or the name is empty or has more bytes than a message less 14.
    pub fn subscribe(&mut self, name: &'static str, subscription: &'static Subscription) -> Option<Topic> {
        let filter = if topics::is_filter(name) { FILTER } else { 0 };
        let topic = self.enter(name, 14, filter | SAY_SUB)?;
        if let Some(entry) = self.entry_mut(topic) {
            entry.subscription = Some(subscription);
            entry.bits &= !SAY_UNSUB;
        }
        Some(topic)
    }

    fn enter(&mut self, name: &'static str, overhead: usize, bits: u8) -> Option<Topic> {
        if name.is_empty() || name.len() + overhead > self.message {
            return None;
        }
        let place = topics::place(self.topics, name)?;
        let entry = self.topics.get_mut(place)?;
        if entry.name.is_none() {
            entry.name = Some(name);
            entry.bits = if bits & FILTER == 0 { SAY_TOPIC } else { 0 };
        }
        entry.bits = entry.bits & !UNFIT | bits;
        self.has_to_say = true;
        Some(Topic(self.first_ids().0 + place as u16))
    }

    /// Ends a subscription. A topic can still be published on; a filter is forgotten.
    pub fn unsubscribe(&mut self, topic: Topic) {
        let is_open = self.is_open();
        if let Some(entry) = self.entry_mut(topic) {
            entry.subscription = None;
            entry.bits = entry.bits & !SAY_SUB | SAY_UNSUB;
            if entry.is(FILTER) && !is_open {
                *entry = Entry::FREE;
            }
        }
        self.has_to_say = true;
    }

    /// Queues a message; its bytes are copied. On reliable lanes it waits for the host, through broken sessions, until it
    /// is sent; of a state lane the newest message of each topic waits; on a stream lane nothing waits for a session.
    ///
    /// # Errors
    /// [`Refused`] says why it was not queued.
    pub fn publish(&mut self, topic: Topic, lane: LaneNumber, payload: &[u8]) -> Result<(), Refused> {
        self.queue(topic, lane, payload, None)
    }

    /// The same, with the time of the message: microseconds of the device's clock.
    ///
    /// # Errors
    /// [`Refused`] says why it was not queued.
    pub fn publish_at(&mut self, topic: Topic, lane: LaneNumber, payload: &[u8], time: u32) -> Result<(), Refused> {
        self.queue(topic, lane, payload, Some(time))
    }

    /// Lets the host send `count` more messages on a lane that has credit in its [`crate::LaneSetup`].
    pub fn grant(&mut self, lane: LaneNumber, count: u16) {
        if let Some(lane) = self.find(lane.0) {
            lane.grant(count);
        }
    }

    fn queue(&mut self, topic: Topic, lane: LaneNumber, payload: &[u8], time: Option<u32>) -> Result<(), Refused> {
        let entry = self.entry(topic.0).ok_or(Refused::NoTopic)?;
        if entry.is(FILTER | UNFIT) {
            return Err(Refused::NoTopic);
        }
        let index = self.index_of(lane.0).filter(|index| *index > 0).ok_or(Refused::NoLane)?;
        let is_open = self.is_open();
        let most = if is_open { usize::from(self.payload) } else { self.message };
        let Some((lane, slots)) = self.lane_mut(index) else { return Err(Refused::NoLane) };
        if is_open && !lane.exists() {
            return Err(Refused::NoLane);
        }
        if !is_open && lane.kind == Kind::UU {
            return Err(Refused::NotOpen);
        }
        if payload.len() > most {
            return Err(Refused::TooLarge);
        }
        let mut offset = if lane.kind == Kind::US { 0 } else { lane.count };
        while offset < lane.count && lane.slot(slots, offset).topic != topic.0 {
            offset += 1;
        }
        if offset == lane.count {
            if lane.is_full() {
                return Err(Refused::Full);
            }
            lane.count += 1;
        }
        if let Some(slot) = slots.get_mut(lane.place(offset)) {
            *slot = Slot::new(topic.0, payload.len() as u16, time);
        }
        Frame { buffer: self.data_mut(index, offset), end: 0 }.put(payload);
        Ok(())
    }

    /// The memory of a slot.
    pub(crate) fn data_mut(&mut self, index: usize, offset: u8) -> &mut [u8] {
        let place = index * self.window + self.lanes.get(index).map_or(0, |lane| lane.place(offset));
        self.data.get_mut(place * self.message..(place + 1) * self.message).unwrap_or_default()
    }

    /// The lane of a number.
    #[inline(never)]
    pub(crate) fn find(&mut self, number: u8) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|known| known.number == number)
    }

    /// The entry of an id of this side.
    #[inline(never)]
    pub(crate) fn entry(&self, topic: u16) -> Option<Entry> {
        let place = topic.checked_sub(self.first_ids().0)?;
        self.topics.get(usize::from(place)).copied().filter(|entry| entry.name.is_some())
    }

    #[inline(never)]
    pub(crate) fn entry_mut(&mut self, topic: Topic) -> Option<&mut Entry> {
        let place = topic.0.checked_sub(self.first_ids().0)?;
        self.topics.get_mut(usize::from(place)).filter(|entry| entry.name.is_some())
    }

    #[inline(never)]
    pub(crate) fn index_of(&self, lane: u8) -> Option<usize> {
        self.lanes.iter().position(|known| known.number == lane)
    }

    /// A lane and its slots.
    #[inline(never)]
    pub(crate) fn lane_mut(&mut self, index: usize) -> Option<(&mut Lane, &mut [Slot])> {
        let from = index * self.window;
        Some((self.lanes.get_mut(index)?, self.slots.get_mut(from..from + self.window)?))
    }

    /// Microseconds that the largest frame of the session is on the line.
    pub(crate) fn frame_us(&self) -> u32 {
        (u32::from(self.payload + OVERHEAD_BYTES) * self.byte_us16) >> 4
    }

    /// Whether a moment has come; if not, the next poll is at that moment at the latest.
    #[inline(never)]
    pub(crate) fn is_due(&mut self, at: u32) -> bool {
        let left = at.wrapping_sub(self.now);
        if left == 0 || left > i32::MAX as u32 {
            return true;
        }
        self.sleep = self.sleep.min(left);
        false
    }
}
