//! An emulated board: QEMU's serial port is a pair of pipes, and the link of the hosts at its other end.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration as StdDuration, Instant as StdInstant};

use laneway_proto::time::Instant;

use super::host::Host;

const BAUD: u32 = 921_600;
const PATIENCE: StdDuration = StdDuration::from_secs(60);

/// A board that runs, and a host on its line, in real time.
pub(crate) struct Board {
    emulator: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    host: Host,
    start: StdInstant,
}

pub(crate) fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok_and(|status| status.success())
}

/// The program that has a machine.
pub(crate) fn emulator(machine: &str) -> &'static str {
    match machine {
        "virt" => "qemu-system-riscv32",
        "rp2040" => "node",
        _ => "qemu-system-arm",
    }
}

pub(crate) fn emulate(machine: &str, image: &Path, options: &[&str]) -> (Child, ChildStdin, Receiver<Vec<u8>>) {
    let mut command = Command::new(emulator(machine));
    if machine == "rp2040" {
        let library = std::env::var_os("LANEWAY_RP2040JS").unwrap_or_default();
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/firmware/rp2040/run.mjs")).arg(library).arg(image);
    } else {
        command
            .args(if machine == "virt" { &["-bios", "none"][..] } else { &[] })
            .args(options)
            .args(["-M", machine, "-display", "none", "-monitor", "none", "-nodefaults"])
            .args(["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line", "-kernel"])
            .arg(image);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the emulator starts");
    let input = child.stdin.take().expect("a pipe");
    let mut pipe = child.stdout.take().expect("a pipe");
    let (sender, output) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = pipe.read(&mut buffer) {
            if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    (child, input, output)
}

impl Board {
    fn new(machine: &str, image: &Path) -> Self {
        let (emulator, input, output) = emulate(machine, image, &[]);
        let mut host = Host::new(Instant(0), BAUD, true, 1);
        host.set_dead_ms(5_000);
        host.restart(Instant(0), 2);
        Self { emulator, input, output, host, start: StdInstant::now() }
    }

    fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }

    /// The board loses its power, and gets it again.
    fn restart(&mut self, machine: &str, image: &Path) {
        self.stop();
        (self.emulator, self.input, self.output) = emulate(machine, image, &[]);
    }

    fn stop(&mut self) {
        let _ended = self.emulator.kill();
        let _status = self.emulator.wait();
    }

    /// Until `done`, but not for ever.
    fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = StdInstant::now() + PATIENCE;
        while !done(self) {
            assert!(StdInstant::now() < end, "{what}: not within {PATIENCE:?}; {:?}", self.host.link.counters());
            let sent = self.host.service(self.now());
            // The emulator may have just been killed; then nobody listens.
            let _written = self.input.write_all(&sent).and_then(|()| self.input.flush());
            let pause = self.host.timeout.map_or(1_000_000, |due| due.since(self.now()).0.min(1_000_000));
            let mut bytes = self.output.recv_timeout(StdDuration::from_nanos(pause)).unwrap_or_default();
            bytes.extend(self.output.try_iter().flatten());
            self.host.on_bytes(self.now(), &bytes);
        }
    }

    /// What the board's last message says: its own number, messages seen, wrong ones, sessions.
    fn report(&self) -> [u32; 4] {
        let payload = self.host.received.last().map_or(&[][..], |(_, _, payload)| payload);
        assert!(payload.is_empty() || payload.len() == 16, "{payload:?}");
        let words: Vec<_> =
            payload.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
        std::array::from_fn(|at| words.get(at).copied().unwrap_or_default())
    }

    /// The topic that the board subscribes to.
    fn down(&self) -> Option<u16> {
        let wanted = self.host.wanted.first()?;
        assert_eq!(self.host.names.get(&wanted.topic).map(String::as_str), Some("board/down"));
        Some(wanted.topic)
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Messages pass both ways, complete and in order; whether there is an emulator.
pub(crate) fn talks(machine: &str, image: &Path) {
    const MESSAGES: u32 = 300;
    let mut board = Board::new(machine, image);
    board.run_until("the board opens a session and subscribes", |board| board.down().is_some());
    let topic = board.down().expect("it has subscribed");
    for number in 0..MESSAGES {
        board.host.publish(board.now(), 1, topic, &number.to_le_bytes());
    }
    board.run_until("everything arrives", |board| board.report()[0] >= MESSAGES && board.report()[1] >= MESSAGES);
    assert_eq!(board.report()[1..], [MESSAGES, 0, 1], "complete, in order, in one session");
    let own = board.host.received.iter().map(|(lane, _, payload)| (*lane, payload[..4].to_vec()));
    for (expected, (lane, number)) in (0u32..).zip(own) {
        assert_eq!((lane, number), (1, expected.to_le_bytes().to_vec()), "the board's messages, in order");
    }
    println!("{machine}: {:?}", board.host.link.counters());

    // The broker restarts: the board opens a second session by itself.
    let now = board.now();
    board.host.restart(now, 77);
    board.run_until("a second session", |board| board.report()[3] == 2 && board.down().is_some());
    // And the board: its first session again, by its own count.
    board.restart(machine, image);
    board.host.wanted.clear();
    board.run_until("after a reset", |board| board.report()[3] == 1 && board.down().is_some());
}

/// Instructions per message of 64 bytes, its acknowledgement included.
const INSTRUCTIONS_MAX: u64 = 12_000;

/// What the `bench` image of a microbit counts is below the bound.
pub(crate) fn costs_little(image: &Path) {
    // Every instruction takes a nanosecond, so that the board's microseconds are a thousand instructions each.
    let (mut emulator, _input, output) = emulate("microbit", image, &["-icount", "shift=0"]);
    let end = StdInstant::now() + PATIENCE;
    let mut said = String::new();
    while said.split_whitespace().count() < 4 && StdInstant::now() < end {
        let bytes = output.recv_timeout(StdDuration::from_millis(100)).unwrap_or_default();
        said += &String::from_utf8_lossy(&bytes);
    }
    let _ended = emulator.kill();
    let _status = emulator.wait();
    let numbers: Vec<u64> = said.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [messages, published_us, acknowledged_us, 0] = numbers[..] else { panic!("{said:?}") };
    assert_eq!(messages, 200, "all are acknowledged");
    let [publish, acknowledge] = [published_us, acknowledged_us].map(|us| us * 1_000 / messages);
    println!("{publish} instructions to publish and send 64 bytes, {acknowledge} to take the acknowledgement");
    assert!((1..=INSTRUCTIONS_MAX).contains(&(publish + acknowledge)), "{said:?}");
}
