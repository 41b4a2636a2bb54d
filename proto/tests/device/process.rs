//! `client/c/tests/host.c` as a process: the C library with its clock, line and application in the test's hands.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A message that the device's application got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    pub(crate) lane: u8,
    pub(crate) topic: u16,
    pub(crate) missed: u16,
    pub(crate) payload: Vec<u8>,
}

/// Something the library told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) kind: u8,
    pub(crate) lane: u8,
    pub(crate) code: u8,
    pub(crate) topic: u16,
    pub(crate) count: u32,
    pub(crate) text: String,
}

pub(crate) const OPENED: u8 = 0;
pub(crate) const CLOSED: u8 = 1;
pub(crate) const ACKED: u8 = 2;
pub(crate) const MAYBE: u8 = 3;
pub(crate) const DROPPED: u8 = 4;
pub(crate) const LOST: u8 = 5;
pub(crate) const RESULT: u8 = 6;
pub(crate) const NAMED: u8 = 7;

/// The process.
pub(crate) struct Device {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    program: PathBuf,
    pub(crate) baud: u32,
    /// On a half-duplex line.
    pub(crate) address: u8,
    /// Bytes written and not put on the line yet.
    pub(crate) written: Vec<u8>,
    pub(crate) received: Vec<Received>,
    pub(crate) told: Vec<Told>,
    pub(crate) is_open: bool,
    /// Messages acknowledged on each lane.
    pub(crate) acked: [u32; 8],
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal");
    (0..text.len() / 2).map(digit).collect()
}

impl Device {
    /// Starts the process; nothing is initialised yet.
    ///
    /// # Panics
    /// If it does not start.
    pub(crate) fn new(program: &Path, baud: u32) -> Self {
        let child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the program starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let program = program.to_owned();
        let (written, received, told) = (Vec::new(), Vec::new(), Vec::new());
        Self { child, input, output, program, baud, address: 0, written, received, told, is_open: false, acked: [0; 8] }
    }

    /// Says one line and returns the answer.
    ///
    /// # Panics
    /// If the process has ended, as it does when a sanitizer finds something.
    pub(crate) fn ask(&mut self, line: &str) -> u64 {
        writeln!(self.input, "{line}").expect("the device lives");
        loop {
            let mut said = String::new();
            self.output.read_line(&mut said).expect("the device speaks");
            assert!(!said.is_empty(), "the device has died of {line:?}");
            let said = said.trim_end_matches('\n');
            let Some((kind, rest)) = said.split_once(' ') else {
                return said.trim_start_matches('=').parse().unwrap_or_else(|_| panic!("{said:?} to {line:?}"));
            };
            self.take(kind, rest);
        }
    }

    fn take(&mut self, kind: &str, rest: &str) {
        let mut words = rest.splitn(6, ' ');
        let mut number = || words.next().unwrap_or_default().parse::<u32>().unwrap_or_default();
        match kind {
            "w" => self.written.extend(unhex(rest)),
            "m" => {
                let (lane, topic, missed) = (number() as u8, number() as u16, number() as u16);
                let payload = unhex(words.next().unwrap_or_default());
                self.received.push(Received { lane, topic, missed, payload });
            }
            "e" => {
                let (kind, lane, code, topic, count) =
                    (number() as u8, number() as u8, number() as u8, number() as u16, number());
                let text = words.next().unwrap_or_default().to_owned();
                self.is_open = kind == OPENED || self.is_open && kind != CLOSED;
                self.acked[usize::from(lane)] += u32::from(kind == ACKED);
                self.told.push(Told { kind, lane, code, topic, count, text });
            }
            _ => panic!("{kind} {rest}"),
        }
    }

    /// Power comes on: `lw_init`, topics `up` and `down`, the latter subscribed to, and `lw_connect`.
    pub(crate) fn start(&mut self, now_us: u32, entropy: u32) {
        self.is_open = false;
        self.ask(&format!("i {entropy} {} {}", self.baud, self.address));
        assert_eq!(self.ask("t up"), 0x4000);
        assert_eq!(self.ask("s down 0"), 0x4001);
        self.ask(&format!("c {now_us}"));
    }

    /// Bytes arrive and the library does what is due; microseconds until it wants to be called again.
    pub(crate) fn step(&mut self, now_us: u32, bytes: &[u8]) -> u64 {
        let bytes = if bytes.is_empty() { "-".to_owned() } else { hex(bytes) };
        self.ask(&format!("x {now_us} {bytes}"))
    }

    /// Publishes on `up`; the library's status, 0 if it took it.
    pub(crate) fn publish(&mut self, lane: u8, payload: &[u8]) -> u64 {
        self.ask(&format!("p {lane} 16384 {}", hex(payload)))
    }

    /// How often this was told.
    pub(crate) fn count(&self, kind: u8) -> usize {
        self.told.iter().filter(|told| told.kind == kind).count()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
