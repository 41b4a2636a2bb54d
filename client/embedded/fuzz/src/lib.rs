//! A device library against bytes that nobody would send, and calls that nobody would make: nothing takes it out of its
//! bounds, and what it says is always frames.

mod host;

use laneway_embedded::{Code, Config, Device, Event, Kind, Lane, LaneSetup, SizedMemory, Subscription, Topic};

use host::Host;

const LANES: [LaneSetup; 6] = [
    LaneSetup { number: 0, kind: Kind::RO, class: 0, credit: 0 },
    LaneSetup { number: 1, kind: Kind::RO, class: 1, credit: 3 },
    LaneSetup { number: 2, kind: Kind::RU, class: 2, credit: 0 },
    LaneSetup { number: 3, kind: Kind::US, class: 2, credit: 0 },
    LaneSetup { number: 4, kind: Kind::UU, class: 3, credit: 0 },
    LaneSetup { number: 7, kind: Kind::RO, class: 3, credit: 0 },
];

const NAMES: [&str; 4] = ["a", "a/b", "#", "a/+/c"];

/// What is left of an input.
pub(crate) struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn bytes(&mut self, count: usize) -> &'i [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// What the application has, and counts.
#[derive(Default)]
struct Application {
    topics: Vec<Topic>,
    opened: u32,
    closed: u32,
}

impl Application {
    fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened => self.opened += 1,
            Event::Closed(_) => self.closed += 1,
            Event::Message(message) => assert!(message.payload.len() <= 96 && message.topic != 0),
            Event::Acked { topic, .. } | Event::Maybe { topic, .. } | Event::Dropped { topic, .. } => {
                assert!(self.topics.contains(topic), "{event:?} of a topic that was published on");
            }
            Event::Lost { .. } | Event::Result { .. } | Event::Named { .. } => {}
        }
        assert!(self.opened - self.closed <= 1, "sessions open and close in turn");
    }

    fn act(&mut self, device: &mut Device<'_>, input: &mut Input<'_>) {
        let [what, which, lane] = [input.byte(), input.byte(), input.byte() & 7];
        let name = NAMES[usize::from(which) % NAMES.len()];
        match what % 8 {
            0 => self.topics.extend(device.topic(name, which & 4 != 0)),
            1 => self.topics.extend(device.subscribe(name, &Subscription::RETAINED)),
            2 => device.grant(Lane(lane), u16::from(which)),
            3 if which == 0 => device.disconnect(Code::SHUTDOWN),
            4 => {
                if let Some(topic) = self.topics.get(usize::from(which) % self.topics.len().max(1)) {
                    device.unsubscribe(*topic);
                }
            }
            _ => {
                let payload = input.bytes(usize::from(which) % 120);
                if let Some(topic) = self.topics.get(usize::from(what) % self.topics.len().max(1)) {
                    let _full = device.publish(*topic, Lane(lane), payload);
                }
            }
        }
    }
}

/// Whether a session was open at some time.
///
/// # Panics
/// If the library does what it must not.
pub fn check(data: &[u8]) -> bool {
    let mut input = Input(data);
    let mut memory: SizedMemory<96, 2, 5, 6, 128> = SizedMemory::new();
    let config = Config { lanes: &LANES, ..Config::new("fuzz", [7; 8], 115_200) };
    let mut device = Device::new(&mut memory, &config, 0xA1B2_C3D4);
    let mut application = Application::default();
    let mut host = Host::new();
    let mut now = u32::MAX - 1_000_000;
    device.connect(now);
    application.topics.extend(device.topic("a", true));
    application.topics.extend(device.subscribe("#", &Subscription::PLAIN));
    while !input.0.is_empty() {
        match input.byte() % 8 {
            0 => {
                let count = input.byte();
                device.receive(now, input.bytes(usize::from(count)), |_, event| application.on_event(&event));
            }
            1..=3 => {
                let said = host.say(&mut input);
                device.receive(now, &said, |_, event| application.on_event(&event));
            }
            4 => now = now.wrapping_add(u32::from(input.byte()) * 4_096),
            5 => application.act(&mut device, &mut input),
            _ => {
                let mut room = usize::from(input.byte());
                let write = |bytes: &[u8]| {
                    let count = bytes.len().min(room);
                    room -= count;
                    host.hear(&bytes[..count]);
                    count
                };
                let sleep = device.poll(now, write, |_, event| application.on_event(&event));
                assert!(sleep <= 100_000, "it comes back");
                now = now.wrapping_add(1_000);
            }
        }
        assert_eq!(device.is_open(), application.opened > application.closed);
    }
    application.opened > 0
}
