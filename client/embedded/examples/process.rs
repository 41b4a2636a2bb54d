//! A device as a process: somebody else is its clock, its line and its application, and talks to it in lines of text, the
//! same as `client/c/tests/host.c` does for the C library.
//!
//! ```text
//! to it                     back
//! i ENTROPY BAUD ADDRESS    a new device: its MTU
//! x NOW HEX                 bytes arrive (- for none), then poll
//! p LANE TOPIC HEX          publish: 0, or 1 and more for each reason not to
//! t NAME                    topic: its id
//! s NAME FLAGS              subscribe (flag 1: retained): its id
//! u ID                      unsubscribe
//! g LANE COUNT              grant
//! d CODE                    disconnect
//! c NOW                     connect
//! l                         the next device has lanes 0 to 2, and gives lane 1 credit for four messages
//! ```
//!
//! Before the answer, which begins with `=`, stand lines for what happened: `w HEX` is written to the line, `m LANE TOPIC
//! MISSED HEX` is a message, `e KIND LANE CODE TOPIC COUNT TEXT` an event.
//! With the feature `host` it plays the host.

use std::fmt::Write as _;
use std::io::BufRead as _;

use laneway_embedded::{
    Code, Config, Device, Event, Kind, Lane, LaneSetup, Message, Refused, SizedMemory, Subscription, Topic,
};

type ProcessMemory = SizedMemory<96, 2, 16, 5, 128>;

const CREDIT_LANES: [LaneSetup; 3] = [
    LaneSetup { number: 0, kind: Kind::RO, class: 0, credit: 0 },
    LaneSetup { number: 1, kind: Kind::RO, class: 1, credit: 4 },
    LaneSetup { number: 2, kind: Kind::RU, class: 2, credit: 0 },
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    (0..text.len() / 2).map_while(digit).collect()
}

fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// What happened, as a line.
fn line(event: &Event<'_>) -> String {
    let tell = |kind: u8, lane: Lane, code: u8, topic: u16, count: usize, text: &[u8]| {
        format!("e {kind} {} {code} {topic} {count} {}", lane.0, String::from_utf8_lossy(text))
    };
    match *event {
        Event::Message(Message { topic, lane, missed, payload, .. }) => {
            format!("m {} {topic} {missed} {}", lane.0, hex(payload))
        }
        Event::Opened => tell(0, Lane(0), 0, 0, 0, b""),
        Event::Closed(code) => tell(1, Lane(0), code.0, 0, 0, b""),
        Event::Acked { lane, topic } => tell(2, lane, 0, topic.id(), 0, b""),
        Event::Maybe { lane, topic } => tell(3, lane, 0, topic.id(), 0, b""),
        Event::Dropped { lane, topic } => tell(4, lane, 0, topic.id(), 0, b""),
        Event::Lost { lane, reason, topic, count } => tell(5, lane, reason, topic, count as usize, b""),
        Event::Result { topic, code, text } => tell(6, Lane(0), code.0, topic.map_or(0, Topic::id), text.len(), text),
        Event::Named { topic, name } => tell(7, Lane(0), 0, topic, name.len(), name),
    }
}

/// What the application holds besides the device.
struct Session {
    device: Device<'static>,
    topics: Vec<Topic>,
}

fn start(entropy: u32, baud: u32, has_credit: bool) -> Session {
    let mut config = Config::new("rust-device", *b"rustdevi", baud);
    if has_credit {
        config.lanes = &CREDIT_LANES;
    }
    #[cfg(feature = "host")]
    {
        config.is_host = true;
    }
    Session { device: Device::new(leak(ProcessMemory::new()), leak(config), entropy), topics: Vec::new() }
}

fn numbers<const N: usize>(words: &[&str]) -> [u32; N] {
    std::array::from_fn(|at| words.get(at).and_then(|word| word.parse().ok()).unwrap_or_default())
}

impl Session {
    fn enter(&mut self, topic: Option<Topic>) -> String {
        self.topics.extend(topic.filter(|topic| !self.topics.contains(topic)));
        topic.map_or(0, Topic::id).to_string()
    }

    fn find(&self, id: u32) -> Option<Topic> {
        self.topics.iter().copied().find(|topic| u32::from(topic.id()) == id)
    }

    fn obey(&mut self, command: &str, words: &[&str]) -> String {
        let device = &mut self.device;
        match command {
            "x" => {
                let ([now], bytes) = (numbers(words), unhex(words.get(1).copied().unwrap_or_default()));
                device.receive(now, &bytes, |_, event| println!("{}", line(&event)));
                let write = |bytes: &[u8]| {
                    println!("w {}", hex(bytes));
                    bytes.len()
                };
                device.poll(now, write, |_, event| println!("{}", line(&event))).to_string()
            }
            "p" => {
                let ([lane, topic], payload) = (numbers(words), unhex(words.get(2).copied().unwrap_or_default()));
                let Some(topic) = self.find(topic) else { return "4".to_owned() };
                let reason = match self.device.publish(topic, Lane(lane as u8), &payload) {
                    Ok(()) => 0,
                    Err(Refused::Full) => 1,
                    Err(Refused::TooLarge) => 2,
                    Err(Refused::NoLane) => 3,
                    Err(Refused::NoTopic) => 4,
                    Err(Refused::NotOpen) => 5,
                };
                reason.to_string()
            }
            "t" => {
                let topic = device.topic(leak(words.concat()), false);
                self.enter(topic)
            }
            "s" => {
                let [_, flags] = numbers(words);
                let how = if flags == 0 { &Subscription::PLAIN } else { &Subscription::RETAINED };
                let topic = device.subscribe(leak(words.first().copied().unwrap_or_default().to_owned()), how);
                self.enter(topic)
            }
            "u" => {
                let [id] = numbers(words);
                if let Some(topic) = self.find(id) {
                    self.device.unsubscribe(topic);
                }
                "0".to_owned()
            }
            "g" => {
                let [lane, count] = numbers(words);
                device.grant(Lane(lane as u8), count as u16);
                "0".to_owned()
            }
            "d" => {
                let [code] = numbers(words);
                device.disconnect(Code(code as u8));
                "0".to_owned()
            }
            "c" => {
                let [now] = numbers(words);
                device.connect(now);
                "0".to_owned()
            }
            _ => "0".to_owned(),
        }
    }
}

fn main() {
    let mut has_credit = false;
    let mut session = start(1, 115_200, has_credit);
    for said in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = said.split_whitespace().collect();
        let Some((command, rest)) = words.split_first() else { continue };
        has_credit |= *command == "l";
        if *command == "i" {
            let [entropy, baud] = numbers(rest);
            session = start(entropy, baud, has_credit);
            println!("={}", session.device.message_bytes_max());
        } else {
            println!("={}", session.obey(command, rest));
        }
    }
}
