//! A device on a serial line: a real broker on a pseudo terminal, an emulated line of 115,200 bits per second, and the link's
//! machine at its other end.

use std::path::Path;
use std::time::Duration;

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Lane, Level, PublishOptions, StatValue, SubscribeOptions};
use laneway_proto::frame::lost::LossReason;
use laneway_tests::real::process::{GUARD, Process};
use laneway_tests::real::{Launch, RealBroker, Scratch, run};
use laneway_tests::serial::device::{Device, Make};
use laneway_tests::serial::line::{Faults, Line, Report};
use laneway_tests::serial::pty::Pty;
use rustix::termios::{ControlModes, LocalModes, OutputModes, tcgetattr};

const BAUD: u32 = 115_200;
const COMMAND: u8 = 1;
const LEVEL: u16 = 0x4000;

struct Bench {
    line: Line,
    _scratch: Scratch,
}

impl Bench {
    fn new(seed: u64, faults: Faults) -> Self {
        let scratch = Scratch::new();
        eprintln!("the line's seed is {seed}");
        Self { line: Line::new(scratch.path("tty"), BAUD, seed, faults), _scratch: scratch }
    }

    fn broker(&self, shards: u32) -> RealBroker {
        Launch::new(shards).also_listen(&self.line.url()).start()
    }

    fn device(&self) -> Device {
        let topics = vec![(LEVEL, "probe/level", false), (LEVEL + 1, "probe/name", true)];
        Make { topics, filters: vec!["probe/set/#"], ..Make::new() }.start(self.line.device_path())
    }
}

fn client(broker: &RealBroker) -> Client {
    ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there")
}

fn next(subscription: &mut Subscription) -> (String, Vec<u8>) {
    let message = subscription.recv_timeout(GUARD).expect("connected").expect("a message in time");
    (message.topic.to_string(), message.payload.to_vec())
}

#[test]
fn a_device_publishes_and_is_published_to() {
    let bench = Bench::new(1, Faults::default());
    for shards in [1, 2] {
        let broker = bench.broker(shards);
        let client = client(&broker);
        let mut levels = client.subscribe("probe/level").expect("subscribed");
        let device = bench.device();
        device.wait_for("its session", |seen| seen.ready == 1 && seen.results == [(1, 0)]);
        for number in 0..50_u32 {
            device.publish(COMMAND, LEVEL, number.to_string());
        }
        for number in 0..50_u32 {
            assert_eq!(next(&mut levels), ("probe/level".to_owned(), number.to_string().into_bytes()));
        }
        for number in 0..50_u32 {
            client.publish("probe/set/a", number.to_string().as_str()).expect("published");
        }
        let seen = device.wait_for("what is for it", |seen| seen.got.len() == 50);
        for (number, got) in seen.got.iter().enumerate() {
            assert_eq!((got.lane, &*got.topic, &*got.payload), (COMMAND, "probe/set/a", number.to_string().as_bytes()));
        }
        broker.stop();
        // It was told that the broker ends.
        device.wait_for("the end", |seen| !seen.ended.is_empty());
    }
}

/// Publishes to the other side and back again, until both have got something that was published from now on.
fn flows(client: &Client, levels: &mut Subscription, device: &Device) {
    static MARKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let until = std::time::Instant::now() + GUARD;
    let mark = format!("mark {}", MARKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let (mut up, mut down) = (false, false);
    while !up || !down {
        assert!(std::time::Instant::now() < until, "nothing flows: up {up}, down {down}; {:?}", device.seen());
        device.publish(COMMAND, LEVEL, &*mark);
        let _ = client.publish("probe/set/a", mark.as_str());
        while let Ok(Some(message)) = levels.recv_timeout(Duration::from_millis(50)) {
            up |= message.payload[..] == *mark.as_bytes();
            if up {
                break;
            }
        }
        down |= device.seen().got.iter().any(|got| got.payload == mark.as_bytes());
    }
}

#[test]
fn a_device_that_is_reset_comes_back() {
    let bench = Bench::new(2, Faults::default());
    let broker = bench.broker(1);
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let device = bench.device();
    for resets in 0..5 {
        device.wait_for("a session", |seen| seen.ready > resets);
        flows(&client, &mut levels, &device);
        device.reset();
    }
    flows(&client, &mut levels, &device);
    drop(device);
    // Switched off, and another one on.
    let device = bench.device();
    flows(&client, &mut levels, &device);
}

#[test]
fn a_broker_that_is_killed_and_started_again_finds_its_device() {
    let bench = Bench::new(3, Faults::default());
    let mut broker = bench.broker(2);
    let device = bench.device();
    for restarts in 0..3 {
        device.wait_for("a session", |seen| seen.ready > restarts);
        let client = client(&broker);
        let mut levels = client.subscribe("probe/level").expect("subscribed");
        flows(&client, &mut levels, &device);
        drop((client, levels));
        broker.kill_and_restart();
        if restarts == 1 {
            device.reset();
        }
    }
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    flows(&client, &mut levels, &device);
}

#[test]
fn a_port_that_is_unplugged_is_found_again_under_another_name() {
    let bench = Bench::new(4, Faults::default());
    bench.line.unplug();
    // It need not be there when the broker starts.
    let broker = bench.broker(1);
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let device = bench.device();
    for away_ms in [0, 100, 2_000] {
        bench.line.plug();
        flows(&client, &mut levels, &device);
        bench.line.unplug();
        std::thread::sleep(Duration::from_millis(away_ms));
    }
    bench.line.plug();
    flows(&client, &mut levels, &device);
    assert_eq!(broker.stop().closed("malformed"), 0);
}

#[test]
fn on_a_bad_line_everything_arrives_in_order_in_both_directions() {
    const MESSAGES: u32 = 300;
    let bench = Bench::new(5, Faults { flips: 200, drops: 100 });
    let broker = bench.broker(1);
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    for number in 0..MESSAGES {
        device.publish(COMMAND, LEVEL, format!("{number:032}"));
        client.publish("probe/set/a", format!("{number:032}").as_str()).expect("published");
    }
    for number in 0..MESSAGES {
        assert_eq!(next(&mut levels).1, format!("{number:032}").into_bytes());
    }
    let seen = device.wait_for("what is for it", |seen| seen.got.len() >= MESSAGES as usize);
    for (number, got) in seen.got.iter().enumerate() {
        assert_eq!(got.payload, format!("{number:032}").into_bytes());
    }
    let report = bench.line.report();
    eprintln!("{report:?}");
    assert!(report.up.hurt > 0 && report.down.hurt > 0, "the line was bad: {report:?}");
    assert_eq!(seen.ended, [], "and the session outlived it");
    let stats = client.stats("port.0.").expect("told");
    let number =
        |name: &str| match stats.iter().find(|stat| stat.name == format!("port.0.{name}")).map(|stat| &stat.value) {
            Some(StatValue::Number(number)) => *number,
            other => panic!("{name} is {other:?}"),
        };
    assert!(number("frames_bad") > 0.0 && number("frames_repeated") > 0.0 && number("in_session") == 1.0, "{stats:?}");
}

#[test]
fn a_command_overtakes_bulk() {
    const BULK: u8 = 5;
    let bench = Bench::new(6, Faults::default());
    let broker = bench.broker(1);
    let client = client(&broker);
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    let lane = |lane: u8| PublishOptions { lane: Lane::new(lane).expect("a lane"), ..PublishOptions::default() };
    let bulk = [7; 900];
    // Three seconds of it.
    for _ in 0..36 {
        client.publish_with("probe/set/bulk", &bulk[..], lane(BULK)).expect("published");
    }
    device.wait_for("the first of it", |seen| !seen.got.is_empty());
    for number in 0..5_u8 {
        let before = device.seen().got.len();
        client.publish_with("probe/set/stop", &[number][..], lane(COMMAND)).expect("published");
        let seen = device.wait_for("a command", |seen| seen.got.iter().any(|got| got.payload == [number]));
        let ahead = seen.got[before..].iter().filter(|got| got.lane == BULK).count();
        eprintln!("{ahead} messages of bulk went before a command");
        // One message of it is ten fragments.
        assert!(ahead <= 2, "a command waited behind {ahead} messages of bulk");
    }
    let seen = device.wait_for("all of it", |seen| seen.got.iter().filter(|got| got.lane == BULK).count() == 36);
    assert_eq!(seen.lost, []);
    let Report { down, .. } = bench.line.report();
    eprintln!("{down:?}; of the backlog a part is the emulator's own");
}

#[test]
fn a_device_is_told_of_like_any_other_peer_and_its_last_values_are_kept() {
    let bench = Bench::new(7, Faults::default());
    let broker = bench.broker(2);
    let client = client(&broker);
    let told = SubscribeOptions { retained: true, ..SubscribeOptions::default() };
    let mut peers = client.subscribe_with(&["$sys/peer/+"], told).expect("subscribed");
    let mut wait_for = |what: &str, wanted: &dyn Fn(&serde_json::Value) -> bool| {
        let until = std::time::Instant::now() + GUARD;
        loop {
            assert!(std::time::Instant::now() < until, "{what} is not told");
            let value: serde_json::Value = serde_json::from_slice(&next(&mut peers).1).expect("JSON");
            if value["roles"] == serde_json::json!(["device"]) && wanted(&value) {
                return value;
            }
        }
    };
    let device = bench.device();
    device.publish(COMMAND, LEVEL + 1, "kept");
    let up = wait_for("a device", &|value| value["state"] == "up");
    assert_eq!(up["node"], "70726f62652d30310073657269616c00");
    assert_eq!(up["metadata"]["name"], "probe");
    device.wait_for("its value to arrive", |seen| seen.delivered == 1);
    let mut names = client.subscribe_with(&["probe/name"], told).expect("subscribed");
    assert_eq!(next(&mut names), ("probe/name".to_owned(), b"kept".to_vec()));
    device.reset();
    let down = wait_for("the end of its session", &|value| value["peer"] == up["peer"] && value["state"] == "down");
    assert_eq!(down["reason"], "killed");
    let again = wait_for("its return", &|value| value["state"] == "up");
    assert_eq!(again["node"], up["node"]);
    bench.line.unplug();
    let down = wait_for("its absence", &|value| value["peer"] == again["peer"] && value["state"] == "down");
    assert_eq!(down["reason"], "unplugged");
}

#[test]
fn the_command_line_reaches_a_device_and_hears_it() {
    let bench = Bench::new(8, Faults::default());
    let broker = bench.broker(1);
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    let mut heard = Process::spawn("laneway sub", broker.laneway(broker.unix(), &["sub", "probe/#", "--verbose"]));
    heard.wait_for_stderr("subscribed\n");
    device.publish(COMMAND, LEVEL, "21.5");
    heard.wait_for_stdout("21.5");
    let published = run("laneway pub", broker.laneway(broker.tcp(), &["pub", "probe/set/limit", "30"]));
    assert_eq!(published.code(), Some(0), "{}", published.stderr);
    let seen = device.wait_for("the limit", |seen| !seen.got.is_empty());
    assert_eq!((&*seen.got[0].topic, &*seen.got[0].payload), ("probe/set/limit", &b"30"[..]));
}

#[test]
fn what_is_too_large_for_a_device_is_reported_and_the_rest_arrives() {
    let bench = Bench::new(9, Faults::default());
    let broker = bench.broker(1);
    let client = client(&broker);
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    client.publish("probe/set/a", "before").expect("published");
    client.publish("probe/set/a", vec![1; 1_025]).expect("published");
    client.publish("probe/set/a", vec![2; 1_024]).expect("published");
    client.publish("probe/set/a", vec![3; 200_000]).expect("published");
    client.publish("probe/set/a", "behind").expect("published");
    let seen = device.wait_for("three messages", |seen| seen.got.len() == 3);
    let bytes: Vec<usize> = seen.got.iter().map(|got| got.payload.len()).collect();
    assert_eq!(bytes, [6, 1_024, 6]);
    assert_eq!(seen.lost, [(COMMAND, LossReason::Overflow, 1); 2]);
}

#[test]
fn who_publishes_to_a_device_is_told_when_it_has_received() {
    let bench = Bench::new(10, Faults { flips: 200, drops: 100 });
    let broker = bench.broker(2);
    let client = client(&broker);
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    for number in 0..20 {
        let confirmed = client.publish_confirmed("probe/set/a", format!("{number}").as_str(), Level::delivered(1));
        assert_eq!(confirmed.map(|confirmed| confirmed.receivers), Ok(1), "message {number}");
        assert_eq!(device.seen().got.len(), number + 1);
    }
}

#[test]
fn a_subscriber_that_does_not_read_stops_a_device_and_nothing_is_lost() {
    const MESSAGES: u32 = 60;
    let bench = Bench::new(11, Faults::default());
    let broker = Launch::new(1).also_listen(&bench.line.url()).config("[limits]\nblock_ms_max = 3600000").start();
    let slow = ConnectOptions::new().lane_credit(8_192).connect_blocking(&broker.tcp().url()).expect("connected");
    let little = SubscribeOptions { queue_bytes: 4_096, ..SubscribeOptions::default() };
    let mut levels = slow.subscribe_with(&["probe/level"], little).expect("subscribed");
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    for number in 0..MESSAGES {
        device.publish(COMMAND, LEVEL, format!("{number:01000}"));
    }
    // What is on its way, and what its line may hold.
    device.wait_for("the first to arrive", |seen| seen.delivered >= 10);
    std::thread::sleep(Duration::from_secs(8));
    let seen = device.seen();
    assert!(seen.delivered < MESSAGES / 2, "{} messages went where nobody takes them", seen.delivered);
    assert_eq!(seen.ended, [], "its session goes on");
    for number in 0..MESSAGES {
        assert_eq!(next(&mut levels).1, format!("{number:01000}").into_bytes());
    }
}

#[test]
fn a_publisher_that_is_faster_than_the_line_waits_for_it() {
    const MESSAGES: u32 = 100;
    let bench = Bench::new(12, Faults::default());
    let limits = "[limits]\nblock_ms_max = 2000\noutbox_bytes_max = 65536";
    let broker = Launch::new(1).also_listen(&bench.line.url()).config(limits).start();
    let client = client(&broker);
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    for number in 0..MESSAGES {
        let payload = format!("{number:01000}");
        client.publish_with("probe/set/image", payload.as_str(), Lane::BULK.into()).expect("published");
    }
    let seen = device.wait_for("all of it", |seen| seen.got.len() >= MESSAGES as usize);
    for (number, got) in seen.got.iter().enumerate() {
        assert_eq!(got.payload, format!("{number:01000}").into_bytes());
    }
    assert_eq!((seen.ended, seen.lost), (vec![], vec![]), "nobody lost patience");
}

#[test]
fn a_port_is_set_as_its_url_says() {
    let pty = Pty::new();
    let url = format!("serial://{}?baud=921600&parity=none&flow=hardware&dtr=both", pty.path().display());
    let broker = Launch::new(1).also_listen(&url).start();
    let port = tcgetattr(pty.port()).expect("a terminal");
    assert_eq!((port.input_speed(), port.output_speed()), (921_600, 921_600));
    assert!(port.control_modes.contains(ControlModes::CRTSCTS | ControlModes::CS8 | ControlModes::CLOCAL));
    assert!(!port.control_modes.contains(ControlModes::HUPCL), "the lines stay as they are when it is closed");
    let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    assert!(!port.local_modes.intersects(cooked), "bytes come as they are");
    assert!(!port.output_modes.contains(OutputModes::OPOST), "and go as they are");
    let ended = broker.stop();
    assert!(
        ended.text().contains(&format!("listening serial://{}?baud=921600", pty.path().display())),
        "{}",
        ended.text()
    );
}

#[test]
fn a_port_that_nobody_reads_keeps_no_broker_from_ending() {
    let pty = Pty::new();
    let url = format!("serial://{}?baud=3000000", pty.path().display());
    let mut broker = Launch::new(2).also_listen(&url).also_listen("serial:///dev/not-there").start();
    let complaint = broker.process().wait_for_stderr("serial port not open");
    assert!(complaint.contains("/dev/not-there") && complaint.contains("plug the device in"), "{complaint}");
    assert_eq!(broker.stop().code(), Some(0));
}

#[test]
fn eight_devices_on_eight_ports_are_there_at_once() {
    const DEVICES: u16 = 8;
    const MESSAGES: u32 = 40;
    let benches: Vec<Bench> =
        (0..DEVICES).map(|number| Bench::new(100 + u64::from(number), Faults::default())).collect();
    let launch = benches.iter().fold(Launch::new(2), |launch, bench| launch.also_listen(&bench.line.url()));
    let broker = launch.start();
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let devices: Vec<Device> =
        benches.iter().zip(1..).map(|(bench, number)| probe(bench.line.device_path(), number, 0)).collect();
    for device in &devices {
        device.wait_for("its session", |seen| seen.ready == 1);
    }
    for number in 0..MESSAGES {
        for (place, device) in devices.iter().enumerate() {
            device.publish(COMMAND, LEVEL, format!("{place} {number}"));
        }
        client.publish("probe/set/all", number.to_string().as_str()).expect("published");
    }
    let mut nexts = [0; DEVICES as usize];
    while nexts.iter().any(|&next| next < MESSAGES) {
        let text = String::from_utf8(next(&mut levels).1).expect("text");
        let (place, number) = text.split_once(' ').expect("two numbers");
        let place: usize = place.parse().expect("a number");
        assert_eq!(number, nexts[place].to_string(), "device {place} in order");
        nexts[place] += 1;
    }
    for device in &devices {
        let seen = device.wait_for("what is for all", |seen| seen.got.len() == MESSAGES as usize);
        assert!((0..).zip(&seen.got).all(|(number, got)| got.payload == format!("{number}").into_bytes()), "{seen:?}");
    }
    let stats = client.stats("port.").expect("told");
    assert_eq!(stats.iter().filter(|stat| stat.name.ends_with(".url")).count(), usize::from(DEVICES));
}

#[test]
fn what_goes_wrong_on_a_port_is_told_with_its_kind_and_counted() {
    let bench = Bench::new(15, Faults::default());
    let broker = bench.broker(2);
    let client = client(&broker);
    let mut told = client.subscribe("$sys/port/+").expect("subscribed");
    let device = bench.device();
    device.wait_for("its session", |seen| seen.ready == 1);
    let path = bench.line.host_path().display().to_string();
    let mut wait_for = |kind: &str, at_least: u64| {
        let until = std::time::Instant::now() + GUARD;
        loop {
            assert!(std::time::Instant::now() < until, "{kind} is not told");
            let (topic, value) = next(&mut told);
            let value: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
            assert_eq!((&*topic, &value["port"]), ("$sys/port/0", &path.clone().into()), "{value}");
            if value["kind"] == kind && value["count"].as_u64().is_some_and(|count| count >= at_least) {
                return;
            }
        }
    };
    bench.line.set_faults(Faults { flips: 5_000, drops: 0 });
    for number in 0..200_u32 {
        device.publish(COMMAND, LEVEL, number.to_string());
    }
    wait_for("crc", 2);
    bench.line.set_faults(Faults::default());
    for unplugged in 1..=2 {
        bench.line.unplug();
        wait_for("hangup", unplugged);
        bench.line.plug();
        let ready = device.seen().ready;
        device.wait_for("another session", |seen| seen.ready > ready);
    }
    let stats = client.stats("port.0.errors.").expect("told");
    let counts: Vec<&str> = stats.iter().map(|stat| &*stat.name).collect();
    let kinds = ["crc", "framing", "overrun", "parity", "break", "hangup"];
    assert_eq!(counts, kinds.map(|kind| format!("port.0.errors.{kind}")));
}

#[test]
fn a_device_echoes_ten_thousand_frames_in_order() {
    const FRAMES: u32 = 10_000;
    let scratch = Scratch::new();
    let line = Line::new(scratch.path("tty"), 3_000_000, 16, Faults::default());
    let broker = Launch::new(1).also_listen(&line.url()).start();
    let client = client(&broker);
    let mut echo = client.subscribe("probe/level").expect("subscribed");
    let topics = vec![(LEVEL, "probe/level", false)];
    let make = Make { baud: 3_000_000, window: 16, topics, filters: vec!["probe/set/#"], echo: LEVEL, ..Make::new() };
    let device = make.start(line.device_path());
    device.wait_for("its session", |seen| seen.ready == 1);
    let publisher = client.clone();
    let sent = std::thread::spawn(move || {
        (0..FRAMES).for_each(|number| publisher.publish("probe/set/a", &number.to_le_bytes()[..]).expect("published"));
    });
    for number in 0..FRAMES {
        assert_eq!(next(&mut echo).1, number.to_le_bytes());
    }
    sent.join().expect("all is published");
    assert_eq!(device.seen().ended, []);
}

const fn node_id(number: u8) -> [u8; 8] {
    [b'n', b'o', b'd', b'e', 0, 0, 0, number]
}

/// Eight devices with addresses on one line.
fn neighbours(line: &Line) -> Vec<Device> {
    (1..=8).map(|address| neighbour(line, address)).collect()
}

fn neighbour(line: &Line, address: u8) -> Device {
    probe(line.device_path_of(usize::from(address - 1)), address, address)
}

/// A device that tells a level and can be set; `address` is 0 on a line of its own. Each is a node of its own, `number`: a
/// second process of a node ends the session of the first.
fn probe(path: &Path, number: u8, address: u8) -> Device {
    let topics = vec![(LEVEL, "probe/level", false)];
    Make { topics, filters: vec!["probe/set/#"], node_id: node_id(number), address, ..Make::new() }.start(path)
}

/// Until something that is said from now on has reached the broker from each device, and each device from the broker.
fn flows_to_all(client: &Client, levels: &mut Subscription, devices: &[Device], round: &str) {
    let until = std::time::Instant::now() + GUARD;
    let mut heard = vec![false; devices.len()];
    let reached = |device: &Device| device.seen().got.iter().any(|got| got.payload == round.as_bytes());
    while heard.contains(&false) || !devices.iter().all(reached) {
        assert!(std::time::Instant::now() < until, "{round}: heard {heard:?}");
        for (place, _) in heard.iter().enumerate().filter(|(_, heard)| !**heard) {
            devices[place].publish(COMMAND, LEVEL, format!("{round} {place}"));
        }
        client.publish("probe/set/all", round).expect("published");
        while let Ok(Some(message)) = levels.recv_timeout(Duration::from_millis(300)) {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            if let Some(place) = text.strip_prefix(round).and_then(|place| place.trim().parse::<usize>().ok()) {
                heard[place] = true;
            }
        }
    }
}

#[test]
fn eight_devices_on_one_half_duplex_line_take_turns() {
    const MESSAGES: u32 = 20;
    let scratch = Scratch::new();
    let line = Line::shared(scratch.path("tty"), BAUD, 13, Faults { flips: 100, drops: 50 }, 8);
    let mut broker = Launch::new(2).also_listen(&line.url()).start();
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let mut devices = neighbours(&line);
    for device in &devices {
        device.wait_for("its session", |seen| seen.ready >= 1);
    }
    for number in 0..MESSAGES {
        for (place, device) in devices.iter().enumerate() {
            device.publish(COMMAND, LEVEL, format!("{place} {number}"));
        }
        client.publish("probe/set/all", number.to_string().as_str()).expect("published");
    }
    let mut nexts = [0; 8];
    while nexts.iter().any(|&next| next < MESSAGES) {
        let text = String::from_utf8(next(&mut levels).1).expect("text");
        let (place, number) = text.split_once(' ').expect("two numbers");
        let place: usize = place.parse().expect("a number");
        assert_eq!(number, nexts[place].to_string(), "device {place} in order: {:?}", devices[place].seen());
        nexts[place] += 1;
    }
    for device in &devices {
        let seen = device.wait_for("what is for all", |seen| seen.got.len() >= MESSAGES as usize);
        assert!((0..).zip(&seen.got).all(|(number, got)| got.payload == format!("{number}").into_bytes()), "{seen:?}");
    }
    eprintln!("{:?}", line.report());
    // One is switched off and on again.
    devices.remove(3);
    devices.insert(3, neighbour(&line, 4));
    flows_to_all(&client, &mut levels, &devices, "switched");
    broker.kill_and_restart();
    let client = self::client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    flows_to_all(&client, &mut levels, &devices, "restarted");
    eprintln!("{:?}", line.report());
    let stats = client.stats("port.").expect("told");
    let urls = stats.iter().filter(|stat| stat.name.ends_with(".url")).count();
    assert_eq!(urls, 9, "the line, and each device on it");
}

#[test]
fn a_device_with_an_address_that_is_not_there_costs_its_neighbours_little() {
    let scratch = Scratch::new();
    let line = Line::shared(scratch.path("tty"), BAUD, 14, Faults::default(), 3);
    let broker = Launch::new(1).also_listen(&line.url()).start();
    let client = client(&broker);
    let mut levels = client.subscribe("probe/level").expect("subscribed");
    let make = |address| Make { topics: vec![(LEVEL, "probe/level", false)], address, ..Make::new() };
    let device = make(2).start(line.device_path_of(1));
    device.wait_for("its session", |seen| seen.ready == 1);
    for number in 0..50_u32 {
        device.publish(COMMAND, LEVEL, number.to_string());
    }
    for number in 0..50_u32 {
        assert_eq!(next(&mut levels).1, number.to_string().into_bytes());
    }
    assert_eq!(device.seen().ended, []);
}
