//! Ten thousand connections that say nothing: what they cost in memory and processor time, and what is left when they are
//! gone.

use std::fs;
use std::time::{Duration, Instant};

use laneway_proto::error::CloseCode;
use laneway_tests::real::frames::{hello, opening, subscribe};
use laneway_tests::real::link::{Link, Place};
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const CONNECTIONS: usize = 10_000;
/// Descriptors that this process and the broker need for everything else.
const DESCRIPTORS_OTHER: u64 = 512;
/// Connections opened at once; fewer than the broker's backlog.
const BATCH: usize = 200;
/// Sessions that are talked to at the end of their rest.
const SAMPLES: usize = 10;
const BYTES_PER_CONNECTION_MAX: u64 = 4 * 1024;
/// A broker at rest uses less than this part of one core: 0.1 %.
const CORE_PART_MAX: f64 = 0.001;
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// From here on a kernel can be told that a sleeping ring waits for no disk.
const KERNEL_WITHOUT_IOWAIT: (u32, u32) = (6, 15);

/// How many connections fit the limits of this machine; says it loudly if they are not all that are wanted.
fn connections_that_fit() -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be asked for");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit can be raised to its bound");
    let room = usize::try_from(hard.saturating_sub(DESCRIPTORS_OTHER)).unwrap_or(usize::MAX);
    if room < CONNECTIONS {
        eprintln!("!!! the hard limit of {hard} descriptors leaves ROOM FOR {room} CONNECTIONS, NOT {CONNECTIONS} !!!");
    }
    room.min(CONNECTIONS)
}

/// Sessions at rest: a few that can still be talked to, and the sockets of the others.
struct Crowd {
    samples: Vec<Peer>,
    links: Vec<Link>,
}

impl Crowd {
    /// Opens sessions, half over TCP and half over the Unix socket, each with a subscription of its own.
    fn open(broker: &RealBroker, count: usize) -> Self {
        let mut crowd = Self { samples: Vec::new(), links: Vec::new() };
        let numbers: Vec<usize> = (0..count).collect();
        for batch in numbers.chunks(BATCH) {
            let place = |number: usize| if number.is_multiple_of(2) { broker.tcp() } else { broker.unix() };
            let knocking: Vec<Peer> = batch.iter().map(|&number| knock(place(number), number)).collect();
            for (mut peer, &number) in knocking.into_iter().zip(batch) {
                expect_open(&mut peer);
                if number.is_multiple_of(count / SAMPLES) {
                    crowd.samples.push(peer);
                } else {
                    crowd.links.push(peer.link().share().expect("a descriptor"));
                }
            }
        }
        crowd
    }

    /// Each of the samples gets what is published for it.
    fn expect_awake(&mut self, place: &Place, count: usize) {
        let mut publisher = Peer::open(place);
        for (place, sample) in self.samples.iter_mut().enumerate() {
            let topic = filter(place * (count / SAMPLES));
            publisher.publish(&topic, b"good morning");
            sample.expect_message(&topic, b"good morning");
        }
    }
}

fn filter(number: usize) -> String {
    format!("idle/{number}")
}

fn knock(place: &Place, number: usize) -> Peer {
    let mut peer = Peer::dial(place).expect("the backlog takes it");
    peer.send(&opening(hello()));
    peer.send(&subscribe(1, &[&filter(number)]).to_frame());
    peer
}

fn expect_open(peer: &mut Peer) {
    assert_eq!(peer.event(), Event::Preface);
    assert!(matches!(peer.event(), Event::Welcome(_)), "a session is opened");
    let Event::Answer(1, answer) = peer.event() else { panic!("the subscription is not answered") };
    assert_eq!(answer.code, CloseCode::Normal.number(), "{}", answer.text);
}

/// The directories of a process's threads.
fn threads(pid: u32) -> Vec<std::path::PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a live process");
    tasks.map(|task| task.expect("a thread").path()).collect()
}

/// Nanoseconds for which all threads of a process have run.
fn running_ns(pid: u32) -> u64 {
    let of_thread = |thread: std::path::PathBuf| {
        let text = fs::read_to_string(thread.join("schedstat")).expect("a kernel with schedstat");
        text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).expect("nanoseconds come first")
    };
    threads(pid).into_iter().map(of_thread).sum()
}

/// Clock ticks for which all threads of a process have waited for block devices; 0 on most kernels, which do not count.
fn disk_ticks(pid: u32) -> u64 {
    let of_thread = |thread: std::path::PathBuf| {
        let text = fs::read_to_string(thread.join("stat")).expect("a live thread");
        // Fields are counted from 1; the third one stands behind the name, which may hold anything but ends with ')'.
        let (_, fields) = text.rsplit_once(')').expect("a name in parentheses");
        fields.split_whitespace().nth(42 - 3).and_then(|ticks| ticks.parse::<u64>().ok()).expect("field 42")
    };
    threads(pid).into_iter().map(of_thread).sum()
}

/// Whether a thread sleeps in a way that counts as waiting for a disk.
fn any_in_disk_sleep(pid: u32) -> bool {
    threads(pid).iter().any(|thread| {
        let status = fs::read_to_string(thread.join("status")).expect("a live thread");
        status.lines().any(|line| line.starts_with("State:") && line.contains("\tD"))
    })
}

/// Threads of the whole machine that wait for a disk: the least that was seen within the time.
fn blocked_on_disks(time: Duration) -> u64 {
    let since = Instant::now();
    let mut least = u64::MAX;
    while since.elapsed() < time {
        let stat = fs::read_to_string("/proc/stat").expect("Linux");
        let line = stat.lines().find_map(|line| line.strip_prefix("procs_blocked ")).expect("a line procs_blocked");
        least = least.min(line.trim().parse().expect("a number"));
        std::thread::sleep(Duration::from_millis(10));
    }
    least
}

/// Watches a broker at rest: it hardly runs, and never waits for a disk.
fn expect_rest(what: &str, broker: &mut RealBroker) {
    let pid = broker.process().pid();
    let (since, ran_before, ticks_before) = (Instant::now(), running_ns(pid), disk_ticks(pid));
    while since.elapsed() < WATCHED {
        assert!(!any_in_disk_sleep(pid), "{what}: a thread waits for a disk");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ran = Duration::from_nanos(running_ns(pid) - ran_before);
    let part = ran.as_secs_f64() / since.elapsed().as_secs_f64();
    eprintln!("{what}: {:.4} % of a core", part * 100.0);
    assert!(part < CORE_PART_MAX, "{what}: it ran {ran:?} in {:?}", since.elapsed());
    assert_eq!(disk_ticks(pid), ticks_before, "{what}: ticks waited for disks");
}

/// Major and minor number of the running kernel.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("no version number: {release}"),
    }
}

#[test]
fn an_idle_broker_hardly_runs_and_is_not_accounted_as_waiting_for_a_disk() {
    const SHARDS: u32 = 8;
    let blocked_before = blocked_on_disks(Duration::from_secs(1));
    let mut broker = Launch::new(SHARDS).log("debug").start();
    let log = broker.process().wait_for_stderr("ring open");
    expect_rest("no connections", &mut broker);
    if kernel() < KERNEL_WITHOUT_IOWAIT {
        eprintln!("!!! Linux {:?} COUNTS EVERY SLEEPING RING AS WAITING FOR A DISK; NOT CHECKED HERE !!!", kernel());
        return;
    }
    assert!(log.contains("no_iowait: true"), "{log}");
    // Each shard that sleeps the wrong way is one more all the time. Others on this machine may come and go.
    let blocked = blocked_on_disks(Duration::from_secs(2));
    let bound = blocked_before + u64::from(SHARDS) / 2;
    assert!(blocked < bound, "{blocked} threads wait for disks, {blocked_before} before there were {SHARDS} shards");
}

#[test]
fn ten_thousand_idle_sessions_cost_4_kib_each_and_no_time_and_leave_nothing_behind() {
    let count = connections_that_fit();
    let mut broker = Launch::new(2).start();
    let resident_before = broker.resident_bytes();
    for round in ["first", "second"] {
        let mut crowd = Crowd::open(&broker, count);
        let each = broker.resident_bytes().saturating_sub(resident_before) / count as u64;
        eprintln!("{round} round: {each} bytes of memory for each of {count} idle sessions");
        assert!(each <= BYTES_PER_CONNECTION_MAX, "{each} bytes for each of {count} idle sessions");
        if round == "first" {
            // The deadlines of the handshakes have to be over.
            std::thread::sleep(Duration::from_secs(6));
            expect_rest("ten thousand connections", &mut broker);
        }
        crowd.expect_awake(broker.unix(), count);
        drop(crowd);
        wait_until_gone(&mut broker);
    }
    let ended = broker.stop_idle();
    let all = 2 * (count as u64 + 1);
    assert_eq!((ended.counted("welcomed"), ended.closed("peer_left")), (all, all), "{}", ended.stderr);
    assert_eq!(ended.counted("refused_at_once"), 0, "{}", ended.stderr);
}

/// Waits until the broker holds no more sockets than an idle one: two listeners.
fn wait_until_gone(broker: &mut RealBroker) {
    let pid = broker.process().pid();
    let until = Instant::now() + GUARD;
    loop {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("a live process").filter_map(Result::ok);
        let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count();
        if sockets == 2 {
            return;
        }
        assert!(Instant::now() < until, "{sockets} sockets are left: {}", broker.process().stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}
