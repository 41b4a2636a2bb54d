//! What a serial port is set to, as its URL says: `serial:///dev/ttyACM0?baud=921600&parity=none&flow=none&dtr=both`, and
//! `&protocol=mavlink&topic=drone&lane=4&send=ground/rx/#` if its device does not speak Laneway's own link.

use std::fmt;
use std::path::{Path, PathBuf};

use laneway_proto::lane::table::DEFAULT_LANE;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::serial::foreign::Protocol;
use laneway_proto::serial::foreign::line::Ending;
use laneway_proto::serial::limits::SERIAL_ADDRESS_MAX;
use laneway_proto::topic;

/// Devices on one half-duplex line at most.
const ADDRESSES_MAX: usize = 32;
/// Bits per second unless the URL says otherwise.
pub const BAUD_DEFAULT: u32 = 115_200;
/// The least there is.
const BAUD_MIN: u32 = 300;
/// The most that drivers know.
const BAUD_MAX: u32 = 12_000_000;
/// Several boards take a port that is opened with this rate for the wish to be programmed.
const BAUD_TOUCH: u32 = 1_200;

/// The parity bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Parity {
    /// There is none.
    None,
    /// An even number of ones.
    Even,
    /// An odd number of ones.
    Odd,
}

/// Who may stop the other side's sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Flow {
    /// Nobody.
    None,
    /// RTS and CTS.
    Hardware,
}

/// What is done to the modem lines when the port is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Modem {
    /// Nothing.
    None,
    /// DTR is set and RTS is cleared.
    Dtr,
    /// Both are set: firmware behind USB sees that somebody is there, and boards that reset themselves by these lines do not.
    Both,
    /// RTS is set for a moment while DTR is not, which resets such boards; then as `Both`.
    ResetPulse,
}

/// A serial port.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct TtyOptions {
    /// Its device file, or a link to it.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// Its parity bit.
    pub parity: Parity,
    /// Flow control.
    pub flow: Flow,
    /// Modem lines.
    pub dtr: Modem,
    /// How its device speaks, if not as Laneway's do.
    pub foreign: Option<Foreign>,
    /// The devices on a line that only one side can drive at a time; none: one device, and both sides may.
    pub addresses: Vec<u8>,
}

/// A device that speaks another protocol, as topics.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Foreign {
    /// Which one.
    pub protocol: Protocol,
    /// What it says is published on `TOPIC/rx` and below; what is published on `TOPIC/tx` and below is said to it.
    pub topic: String,
    /// The lane on which it is published.
    pub lane: u8,
    /// Filters of what else is said to it.
    pub send: Vec<String>,
}

/// The lane of what cannot be asked for again: `stream`.
const FOREIGN_LANE_DEFAULT: u8 = 4;
/// The protocols by name; `laneway` is the link of `docs/SERIAL.md`.
const PROTOCOLS: [(&str, Option<Protocol>); 7] = [
    ("laneway", None),
    ("line", Some(Protocol::Line(Ending::Lf))),
    ("raw", Some(Protocol::Raw)),
    ("slip", Some(Protocol::Slip)),
    ("cobs", Some(Protocol::Cobs)),
    ("nmea", Some(Protocol::Nmea)),
    ("mavlink", Some(Protocol::Mavlink)),
];
const ENDINGS: [(&str, Ending); 3] = [("lf", Ending::Lf), ("crlf", Ending::CrLf), ("cr", Ending::Cr)];
const OPTIONS: &str =
    "baud, parity, flow and dtr, and for a device with another protocol protocol, topic, lane, send and ending";

/// What the URL says of another protocol, before it is known whether there is one.
#[derive(Debug, Default)]
struct Wanted {
    protocol: Option<Protocol>,
    topic: Option<String>,
    lane: Option<u8>,
    send: Vec<String>,
    ending: Option<Ending>,
}

impl Wanted {
    /// False if it is no option of these.
    fn take(&mut self, option: &str, value: &str) -> Result<bool, String> {
        match option {
            "protocol" => self.protocol = choose("protocol", value, &PROTOCOLS)?,
            "topic" => {
                topic::check_publish(value).map_err(|error| format!("topic={value}: {}", error.text()))?;
                self.topic = Some(value.into());
            }
            "lane" => {
                let lane = value.parse().ok().filter(|lane| (DEFAULT_LANE..LANES_MAX as u8).contains(lane));
                self.lane = Some(lane.ok_or_else(|| format!("lane={value} is no lane; use its number, 1 to 15"))?);
            }
            "send" => {
                topic::check_filter(value).map_err(|error| format!("send={value}: {}", error.text()))?;
                self.send.push(value.into());
            }
            "ending" => self.ending = Some(choose("ending", value, &ENDINGS)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(self, path: &Path) -> Result<Option<Foreign>, String> {
        let Self { protocol, topic, lane, send, ending } = self;
        let Some(protocol) = protocol else {
            if topic.is_some() || lane.is_some() || ending.is_some() || !send.is_empty() {
                return Err("topic, lane, send and ending are for devices with another protocol; say which, as in \
                            protocol=line"
                    .into());
            }
            return Ok(None);
        };
        let protocol = match (protocol, ending) {
            (Protocol::Line(_), Some(ending)) => Protocol::Line(ending),
            (_, Some(_)) => return Err("ending=… is for protocol=line".into()),
            (other, None) => other,
        };
        let topic = match topic {
            Some(topic) => topic,
            None => topic_of(path)?,
        };
        Ok(Some(Foreign { protocol, topic, lane: lane.unwrap_or(FOREIGN_LANE_DEFAULT), send }))
    }
}

/// The topic of a port for which none is stated: `serial/ttyACM0`.
fn topic_of(path: &Path) -> Result<String, String> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let topic = format!("serial/{name}");
    topic::check_publish(&topic).map_err(|error| format!("{topic}: {}; say topic=…", error.text()))?;
    Ok(topic)
}

impl Foreign {
    fn write(&self, path: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is = |protocol: Option<Protocol>| match (protocol, self.protocol) {
            (Some(Protocol::Line(_)), Protocol::Line(_)) => true,
            (protocol, other) => protocol == Some(other),
        };
        let name = PROTOCOLS.iter().find(|&&(_, protocol)| is(protocol)).map_or("", |&(name, _)| name);
        write!(f, "&protocol={name}")?;
        if let Protocol::Line(ending) = self.protocol
            && ending != Ending::Lf
        {
            write!(f, "&ending={}", name_of(ending, &ENDINGS))?;
        }
        if topic_of(path).as_deref() != Ok(&*self.topic) {
            write!(f, "&topic={}", self.topic)?;
        }
        if self.lane != FOREIGN_LANE_DEFAULT {
            write!(f, "&lane={}", self.lane)?;
        }
        self.send.iter().try_for_each(|filter| write!(f, "&send={filter}"))
    }
}

/// What the driver of a port has counted since the system has started; each count wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TtyErrors {
    /// Bytes without a stop bit.
    pub framing: u32,
    /// Bytes that were lost because nobody took them, in the port or in the system.
    pub overrun: u32,
    /// Bytes with a wrong parity bit.
    pub parity: u32,
    /// Breaks.
    pub breaks: u32,
}

impl Parity {
    const ALL: [(&'static str, Self); 3] = [("none", Self::None), ("even", Self::Even), ("odd", Self::Odd)];
}

impl Flow {
    const ALL: [(&'static str, Self); 2] = [("none", Self::None), ("hardware", Self::Hardware)];
}

impl Modem {
    const ALL: [(&'static str, Self); 4] =
        [("none", Self::None), ("dtr", Self::Dtr), ("both", Self::Both), ("reset_pulse", Self::ResetPulse)];
}

impl TtyOptions {
    /// The port at `path` with everything as it is by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (parity, flow, dtr) = (Parity::None, Flow::None, Modem::Both);
        Self { path: path.into(), baud: BAUD_DEFAULT, parity, flow, dtr, foreign: None, addresses: Vec::new() }
    }

    /// Reads what stands behind `serial://`, and the options behind its `?`; the error says what to write instead.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("a serial port needs an absolute path, as in serial:///dev/ttyACM0?baud=921600".into());
        }
        let mut this = Self::new(path);
        let mut wanted = Wanted::default();
        for option in query.into_iter().flat_map(|query| query.split('&')) {
            match option.split_once('=') {
                Some(("baud", value)) => this.baud = baud(value)?,
                Some(("parity", value)) => this.parity = choose("parity", value, &Parity::ALL)?,
                Some(("flow", value)) => this.flow = choose("flow", value, &Flow::ALL)?,
                Some(("dtr", value)) => this.dtr = choose("dtr", value, &Modem::ALL)?,
                Some(("addresses", value)) => this.addresses = addresses(value)?,
                Some((name, value)) if wanted.take(name, value)? => {}
                Some(_) | None => return Err(format!("unknown option '{option}'; a serial port has {OPTIONS}")),
            }
        }
        this.foreign = wanted.complete(&this.path)?;
        if this.foreign.is_some() && !this.addresses.is_empty() {
            return Err("addresses=… is for Laneway's own link".into());
        }
        Ok(this)
    }
}

fn baud(text: &str) -> Result<u32, String> {
    let baud = text.parse().ok().filter(|baud| (BAUD_MIN..=BAUD_MAX).contains(baud));
    let baud = baud.ok_or_else(|| format!("baud={text} is no rate; use {BAUD_MIN} to {BAUD_MAX} bits per second"))?;
    if baud == BAUD_TOUCH {
        return Err("baud=1200 makes several boards wait for a new program; use another rate".into());
    }
    Ok(baud)
}

/// Reads `1-4,9`.
fn addresses(text: &str) -> Result<Vec<u8>, String> {
    let address = |text: &str| text.parse().ok().filter(|address| (1..=SERIAL_ADDRESS_MAX).contains(address));
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((address(first)?, address(last)?))
    };
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = range(part).filter(|(first, last)| first <= last).ok_or_else(|| {
            format!("addresses={text} cannot be read; use numbers from 1 to {SERIAL_ADDRESS_MAX}, as in 1-4,9")
        })?;
        all.extend(first..=last);
    }
    all.sort_unstable();
    all.dedup();
    if all.len() > ADDRESSES_MAX {
        return Err(format!("addresses={text} are too many; one line serves {ADDRESSES_MAX} devices"));
    }
    Ok(all)
}

fn choose<T: Copy>(option: &str, text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let found = all.iter().find(|(name, _)| *name == text).map(|&(_, value)| value);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|&(name, _)| name).collect();
        format!("{option}={text} is not known; use {}", names.join(", "))
    })
}

fn name_of<T: Copy + PartialEq>(value: T, all: &[(&'static str, T)]) -> &'static str {
    all.iter().find(|&&(_, other)| other == value).map_or("", |&(name, _)| name)
}

impl fmt::Display for TtyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::new("");
        write!(f, "serial://{}?baud={}", self.path.display(), self.baud)?;
        if self.parity != default.parity {
            write!(f, "&parity={}", name_of(self.parity, &Parity::ALL))?;
        }
        if self.flow != default.flow {
            write!(f, "&flow={}", name_of(self.flow, &Flow::ALL))?;
        }
        if self.dtr != default.dtr {
            write!(f, "&dtr={}", name_of(self.dtr, &Modem::ALL))?;
        }
        if !self.addresses.is_empty() {
            let list: Vec<String> = self.addresses.iter().map(u8::to_string).collect();
            write!(f, "&addresses={}", list.join(","))?;
        }
        self.foreign.as_ref().map_or(Ok(()), |foreign| foreign.write(&self.path, f))
    }
}
