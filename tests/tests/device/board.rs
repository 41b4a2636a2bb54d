//! Emulated microcontrollers at a real broker: `lanewayd`, a pseudo terminal, an emulated line, QEMU. Where QEMU or a compiler
//! for them is missing, the tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Stat, StatValue};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker, Scratch, run};
use laneway_tests::serial::line::{Faults, Line};

const BAUD: u32 = 921_600;

/// One board at a time: an emulator fills a core.
static ALONE: Mutex<()> = Mutex::new(());

fn works(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// The test image of `tests/firmware` in a language for a board; `None` where it cannot be built or run.
fn image(language: &str, board: &str) -> Option<PathBuf> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{language}-{board}.elf"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware").join(language).join("build.sh");
    if !works("qemu-system-arm", &["--version"]) || (language == "c" && !works("arm-none-eabi-gcc", &["--version"])) {
        println!("SKIPPED: there is no qemu-system-arm, or no arm-none-eabi-gcc");
        return None;
    }
    let output = Command::new(script).arg(board).arg(&out).output().expect("the script runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if language == "rust" && said.contains("target may not be installed") {
        println!("SKIPPED: the compiler has no target for {board}");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(out)
}

/// QEMU with its serial port at the device's end of a line; off when it is dropped.
struct Board(Child);

impl Board {
    fn on(machine: &str, image: &Path, line: &Line) -> Self {
        let port = format!("serial,id=line,path={}", line.device_path().display());
        let child = Command::new("qemu-system-arm")
            .args(["-M", machine, "-display", "none", "-monitor", "none", "-nodefaults"])
            .args(["-chardev", &port, "-serial", "chardev:line", "-kernel"])
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("QEMU starts"))
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// What a message of the board says: its number, messages of `board/down`, wrong ones, sessions.
fn words(payload: &[u8]) -> [u32; 4] {
    let word = |at: usize| payload.get(4 * at..).and_then(|bytes| bytes.first_chunk()).copied();
    std::array::from_fn(|at| u32::from_le_bytes(word(at).expect("four numbers")))
}

/// Everybody who listens to the board: over TCP, a Unix socket and UDP.
struct Listeners {
    clients: Vec<Client>,
    subscriptions: Vec<Subscription>,
}

impl Listeners {
    fn of(broker: &RealBroker) -> Self {
        let urls = [broker.tcp().url(), broker.unix().url(), format!("udp://{}", broker.udp())];
        let clients = urls.map(|url| ConnectOptions::new().connect_blocking(&url).expect("a broker is there"));
        let subscriptions = clients.each_ref().map(|client| client.subscribe("board/up").expect("subscribed"));
        Self { clients: clients.into(), subscriptions: subscriptions.into() }
    }

    /// Until everybody's subscriptions are there, the board's one among them.
    fn all_have_subscribed(&self) {
        let (until, subscribers) = (Instant::now() + GUARD, self.clients.len() + 1);
        let has_one = |stat: &Stat| stat.name.ends_with(".subscriptions") && stat.value == StatValue::Number(1.0);
        let count = || self.clients[0].stats("link.").expect("told").iter().filter(|stat| has_one(stat)).count();
        while count() < subscribers {
            assert!(Instant::now() < until, "there are {} subscriptions of {subscribers}", count());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Each of them gets messages, numbered without a hole within a session of the board, until one says what is wanted.
    fn all_hear(&mut self, what: &str, wanted: impl Fn([u32; 4]) -> bool) {
        for (place, subscription) in self.subscriptions.iter_mut().enumerate() {
            let (until, mut last): (_, Option<[u32; 4]>) = (Instant::now() + GUARD, None);
            loop {
                assert!(Instant::now() < until, "listener {place} does not hear of {what}; last {last:?}");
                let message = subscription.recv_timeout(GUARD).expect("connected").expect("a message in time");
                let heard = words(&message.payload);
                if let Some(last) = last.filter(|last| last[3] == heard[3] && last[0] < heard[0]) {
                    assert_eq!(
                        heard[0],
                        last[0] + 1,
                        "listener {place} is to hear of {what}: {last:?}, then {heard:?}"
                    );
                }
                last = Some(heard);
                if wanted(heard) {
                    break;
                }
            }
        }
    }
}

/// A board is heard by everybody and hears everybody, and goes on when it or the broker was restarted.
fn takes_part(language: &str, board: &str, machine: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(image) = image(language, board) else { return };
    let scratch = Scratch::new();
    let line = Line::new(scratch.path("tty"), BAUD, 1, Faults::default());
    let mut broker = Launch::new(2).udp().also_listen(&line.url()).start();
    let mut device = Board::on(machine, &image, &line);
    let mut listeners = Listeners::of(&broker);
    listeners.all_hear("its first messages", |[number, ..]| number >= 50);
    listeners.all_have_subscribed();
    let publish = |broker: &RealBroker| {
        let said = run("laneway pub", broker.laneway(broker.tcp(), &["pub", "board/down", "stop"]));
        assert_eq!(said.code(), Some(0), "{}", said.stderr);
    };
    publish(&broker);
    listeners.all_hear("the command that it got", |[_, messages, ..]| messages == 1);

    // Both ways at once. The board checks the numbers; the command had none.
    let many = if std::env::var_os("LANEWAY_LONG").is_some() { 10_000 } else { 500 };
    for number in 1..=many {
        listeners.clients[0].publish("board/down", &u32::to_le_bytes(number)[..]).expect("published");
    }
    listeners.all_hear("everything that it got, in order", |[_, messages, wrong, sessions]| {
        assert!(wrong == 1 && sessions == 1, "{wrong} messages with a wrong number, {sessions} sessions");
        messages == many + 1
    });
    listeners.all_hear("many messages of its own", |[number, ..]| number >= many);

    // The broker first, then the board.
    broker.kill_and_restart();
    let mut listeners = Listeners::of(&broker);
    listeners.all_hear("its second session", |[.., sessions]| sessions == 2);
    drop(device);
    device = Board::on(machine, &image, &line);
    listeners.all_hear("its new beginning", |[_, messages, _, sessions]| messages == 0 && sessions == 1);

    // The board first, then the broker.
    drop(device);
    broker.kill_and_restart();
    let _device = Board::on(machine, &image, &line);
    let mut listeners = Listeners::of(&broker);
    listeners.all_hear("its return", |[number, _, _, sessions]| number >= 50 && sessions == 1);
    listeners.all_have_subscribed();
    publish(&broker);
    listeners.all_hear("another command that it got", |[_, messages, ..]| messages == 1);
    drop(listeners);
    assert_eq!(broker.stop().closed("malformed"), 0);
}

#[test]
fn a_cortex_m0_with_the_c_library_takes_part() {
    takes_part("c", "microbit", "microbit");
}

#[test]
fn a_cortex_m0_with_the_rust_library_takes_part() {
    takes_part("rust", "microbit", "microbit");
}

#[test]
fn a_cortex_m3_with_the_rust_library_takes_part() {
    takes_part("rust", "lm3s", "lm3s6965evb");
}
