//! What a serial port is set to, as its URL says: `serial:///dev/ttyACM0?baud=921600&parity=none&flow=none&dtr=both`.

use std::fmt;
use std::path::PathBuf;

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
        Self { path: path.into(), baud: BAUD_DEFAULT, parity, flow, dtr }
    }

    /// Reads what stands behind `serial://`, and the options behind its `?`; the error says what to write instead.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err("a serial port needs an absolute path, as in serial:///dev/ttyACM0?baud=921600".into());
        }
        let mut this = Self::new(path);
        for option in query.into_iter().flat_map(|query| query.split('&')) {
            match option.split_once('=') {
                Some(("baud", value)) => this.baud = baud(value)?,
                Some(("parity", value)) => this.parity = choose("parity", value, &Parity::ALL)?,
                Some(("flow", value)) => this.flow = choose("flow", value, &Flow::ALL)?,
                Some(("dtr", value)) => this.dtr = choose("dtr", value, &Modem::ALL)?,
                Some(_) | None => {
                    return Err(format!("unknown option '{option}'; a serial port has baud, parity, flow and dtr"));
                }
            }
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
        Ok(())
    }
}
