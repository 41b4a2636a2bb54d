//! A broker that cannot start says in one paragraph what is in the way, who put it there, and what to change.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;

use laneway_tests::real::binaries::{lanewayd, with_descriptors, without_io_uring};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::Peer;
use laneway_tests::real::process::{Ended, Process};
use laneway_tests::real::{Launch, Scratch, command_under, run_lanewayd};
use nix::sys::signal::Signal;

/// A failure to start: exit 1, nothing on standard output, one paragraph that holds every one of `words`.
fn expect_paragraph(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert_eq!(ended.text(), "", "nothing listens");
    let paragraphs: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("lanewayd: ")).collect();
    let [paragraph] = paragraphs.as_slice() else { panic!("not one paragraph:\n{}", ended.stderr) };
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for word in words {
        assert!(paragraph.contains(word), "'{word}' is missing in: {paragraph}");
    }
}

fn run_with_config(scratch: &Scratch, config: &str, arguments: &[&str]) -> Ended {
    let file = scratch.file("lanewayd.toml", config);
    let config = ["--config", file.to_str().expect("a plain path")];
    run_lanewayd(&[], &[&config, arguments].concat())
}

#[test]
fn without_io_uring_it_names_the_call_the_filter_and_the_remedy() {
    for error in ["EPERM", "ENOSYS"] {
        for shards in ["1", "2"] {
            let arguments = ["--listen", "tcp://127.0.0.1:0", "--shards", shards];
            let ended = run_lanewayd(&without_io_uring(error), &arguments);
            expect_paragraph(&ended, &["io_uring_setup", "seccomp", "docker", "systemd"]);
        }
    }
}

/// Starts a broker of two shards with at most `limit` descriptors; how it ended, or `None` if it started.
fn start_with_descriptors(limit: u64, url: &str) -> Option<Ended> {
    let mut command = command_under(&with_descriptors(limit), lanewayd());
    command.args(["--listen", url, "--shards", "2"]);
    let broker = Process::spawn("lanewayd", command);
    let started = broker.says("ready\n");
    if started {
        broker.signal(Signal::SIGTERM);
    }
    let ended = broker.finish();
    (!started).then_some(ended)
}

#[test]
fn with_too_few_descriptors_it_names_the_limit_and_with_one_more_it_starts() {
    let scratch = Scratch::new();
    let socket = scratch.path("sock");
    for url in ["tcp://127.0.0.1:0", "tcp://localhost:0", &format!("unix://{}", socket.display())] {
        // How many it takes depends on those that are inherited. With too few for its libraries it is not even asked.
        let refusals = (1..).map_while(|limit| start_with_descriptors(limit, url).map(|ended| (limit, ended)));
        let own = refusals.filter(|(_, ended)| ended.code() != Some(127));
        let mut told = 0;
        for (limit, ended) in own {
            let limit = format!("{limit} file descriptors");
            expect_paragraph(&ended, &["Too many open files", &limit, "ulimit -n", "LimitNOFILE="]);
            assert!(!socket.exists(), "a broker that does not start leaves no socket");
            told += 1;
        }
        assert!(told >= 3, "two wake-ups and two rings take descriptors, and {told} refusals were told at {url}");
    }
}

#[test]
fn a_busy_port_is_named_with_a_way_to_find_who_holds_it() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("bound").port();
    let url = format!("tcp://127.0.0.1:{port}");
    let ended = run_lanewayd(&[], &["--listen", &url]);
    expect_paragraph(&ended, &[&url, "another process", "ss -ltnp", &port.to_string(), "--listen"]);
}

#[test]
fn a_second_lanewayd_on_the_same_port_or_path_does_not_start_and_the_first_goes_on() {
    let first = Launch::new(2).start();
    let mut peer = Peer::open(first.unix());
    for place in [first.tcp(), first.unix()] {
        for shards in ["1", "2"] {
            let ended = run_lanewayd(&[], &["--listen", &place.url(), "--shards", shards]);
            expect_paragraph(&ended, &[&place.url(), "another lanewayd", "--listen"]);
        }
        Peer::open(place).ping();
    }
    // One endpoint of two is taken: the other is not left behind.
    let scratch = Scratch::new();
    let path = scratch.path("left");
    let free = format!("unix://{}", path.display());
    let ended = run_lanewayd(&[], &["--listen", &free, "--listen", &first.tcp().url()]);
    expect_paragraph(&ended, &[&first.tcp().url()]);
    assert!(!path.exists(), "a broker that does not start leaves no socket");
    peer.ping();
}

/// Starts a broker at these addresses, opens a session at each, and stops it.
fn serve_once(urls: [&str; 2], places: [&Place; 2], scratch: &Scratch) -> Ended {
    let config = scratch.file("own.toml", format!("state_dir = \"{}\"\n", scratch.path("state").display()));
    let mut command = Command::new(lanewayd());
    command.arg("--config").arg(config).args(["--listen", urls[0], "--listen", urls[1]]);
    let mut broker = Process::spawn("lanewayd", command);
    broker.wait_for_stdout("ready\n");
    for place in places {
        Peer::open(place).ping();
    }
    broker.signal(Signal::SIGTERM);
    broker.finish()
}

#[test]
fn after_a_kill_it_starts_again_at_once_in_the_same_place_and_tidies_up_at_its_end() {
    for _ in 0..5 {
        let mut first = Launch::new(2).start();
        let scratch = Scratch::new();
        let Place::Unix(path) = first.unix().clone() else { panic!("a Unix socket") };
        let (tcp, unix) = (first.tcp().clone(), Place::Unix(scratch.path("stale")));
        first.process().signal(Signal::SIGKILL);
        while first.process().is_running() {
            std::thread::yield_now();
        }
        // A killed broker leaves its socket; the test's directory goes, so the socket moves.
        std::fs::rename(&path, scratch.path("stale")).expect("the socket is still there");
        let urls = [tcp.url(), unix.url()];
        let ended = serve_once([&urls[0], &urls[1]], [&tcp, &unix], &scratch);
        assert_eq!(ended.text(), format!("listening {}\nlistening {}\nready\n", urls[0], urls[1]));
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(!scratch.path("stale").exists(), "the socket is removed at the end");
    }
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let scratch = Scratch::new();
    let file = scratch.file("precious", "notes");
    let ended = run_lanewayd(&[], &["--listen", &format!("unix://{}", file.display())]);
    expect_paragraph(&ended, &["no socket", "--listen"]);
    assert_eq!(std::fs::read(&file).expect("still there"), b"notes");
    let live = scratch.path("live");
    let _listener = UnixListener::bind(&live).expect("a socket of somebody else");
    let ended = run_lanewayd(&[], &["--listen", &format!("unix://{}", live.display())]);
    expect_paragraph(&ended, &["another process", "--listen"]);
    let ended = run_lanewayd(&[], &["--listen", &format!("unix://{}/none/sock", scratch.path("no").display())]);
    expect_paragraph(&ended, &["directory does not exist", "create it"]);
}

#[test]
fn an_address_that_is_not_ours_is_explained() {
    let ended = run_lanewayd(&[], &["--listen", "tcp://192.0.2.1:5263"]);
    expect_paragraph(&ended, &["tcp://192.0.2.1:5263", "no interface", "ip address"]);
    let ended = run_lanewayd(&[], &["--listen", "tcp://no-such-host.invalid:5263"]);
    expect_paragraph(&ended, &["no-such-host.invalid", "check that"]);
}

#[test]
fn an_unreadable_config_is_named() {
    let scratch = Scratch::new();
    let missing = scratch.path("missing.toml").display().to_string();
    let ended = run_lanewayd(&[], &["--config", &missing]);
    expect_paragraph(&ended, &[&missing, "No such file", "--config"]);
    let directory = scratch.path("").display().to_string();
    let ended = run_lanewayd(&[], &["--config", &directory]);
    expect_paragraph(&ended, &[&directory, "--config"]);
    let binary = scratch.file("binary.toml", [0xff, 0xfe, 0, 1]).display().to_string();
    let ended = run_lanewayd(&[], &["--config", &binary]);
    expect_paragraph(&ended, &[&binary, "UTF-8"]);
}

#[test]
fn every_mistake_in_a_config_is_named_with_its_line_and_what_to_do() {
    let scratch = Scratch::new();
    let config = "shards = 900\n\n[limits]\nconections_max = 5\nblock_ms_max = \"long\"\n[tpc]\nnodelay = true\n";
    for arguments in [&["--check"][..], &[]] {
        let ended = run_with_config(&scratch, config, arguments);
        assert_eq!((ended.code(), ended.text().as_str()), (Some(1), ""), "{}", ended.stderr);
        let file = scratch.path("lanewayd.toml");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let expected = [
            (1, "shards", "choose a whole number from 0 to 64"),
            (4, "limits.conections_max", "did you mean 'limits.connections_max'?"),
            (5, "limits.block_ms_max", "not a whole number"),
            (6, "tpc", "unknown key"),
        ];
        assert_eq!(lines.len(), expected.len(), "{}", ended.stderr);
        for (line, (number, key, remedy)) in lines.iter().zip(expected) {
            let start = format!("{}:{number}: {key}: ", file.display());
            assert!(line.starts_with(&start) && line.contains(remedy), "{start}... {remedy}, not {line}");
        }
    }
}

#[test]
fn a_good_config_passes_the_check_and_nothing_is_started() {
    let scratch = Scratch::new();
    let socket = scratch.path("sock");
    let config = format!("listen = [\"unix://{}\"]\nshards = 1\n[limits]\nblock_ms_max = 10\n", socket.display());
    let ended = run_with_config(&scratch, &config, &["--check"]);
    assert_eq!((ended.code(), ended.text().as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    assert!(!socket.exists());
    assert_eq!(run_lanewayd(&[], &["--check"]).code(), Some(0), "the defaults are good");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_right() {
    for (arguments, word) in [
        (&["--shards", "65"][..], "--shards"),
        (&["--shards", "many"], "--shards"),
        (&["--listen", "http://127.0.0.1:1"], "tcp://, udp://, unix://, serial://"),
        (&["--listen", "127.0.0.1:1"], "scheme"),
        (&["--log", "loud"], "debug"),
        (&["--frobnicate"], "--frobnicate"),
        (&["extra"], "extra"),
    ] {
        let ended = run_lanewayd(&[], arguments);
        assert_eq!((ended.code(), ended.text().as_str()), (Some(2), ""), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "'{word}' is missing in: {}", ended.stderr);
    }
    for flag in ["--help", "--version"] {
        let ended = run_lanewayd(&[], &[flag]);
        assert_eq!(ended.code(), Some(0));
        assert!(ended.text().contains("lanewayd"), "{}", ended.text());
    }
}
