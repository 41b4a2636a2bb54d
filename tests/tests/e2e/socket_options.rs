//! Every socket option that can be configured is what the socket has, read from the socket itself.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use laneway_client::ConnectOptions;
use laneway_tests::real::link::{Link, Place};
use laneway_tests::real::peer::Peer;
use laneway_tests::real::{Launch, run};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::Socket;

/// Duplicates of all sockets that a process has open.
fn sockets(pid: u32) -> Vec<Socket> {
    let process = Pid::from_raw(pid as i32).expect("a process id");
    let process = pidfd_open(process, PidfdFlags::empty()).expect("the process runs");
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").filter_map(Result::ok);
    let sockets = entries.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let numbers: Vec<RawFd> =
        sockets.map(|entry| entry.file_name().to_string_lossy().parse().expect("a number")).collect();
    // One that was closed meanwhile is not there to be copied.
    let copy = |number: RawFd| pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok();
    numbers.into_iter().filter_map(copy).map(Socket::from).collect()
}

/// The socket of a process whose other end is at `remote`.
fn socket_towards(pid: u32, remote: SocketAddr) -> Socket {
    let is_it = |socket: &Socket| socket.peer_addr().is_ok_and(|peer| peer.as_socket() == Some(remote));
    sockets(pid).into_iter().find(is_it).expect("the connection is open")
}

/// What `look` sees of the broker's TCP socket when `line` stands in the table `[tcp]`.
fn of_tcp<T>(line: &str, look: impl Fn(&Socket) -> T) -> T {
    let mut broker = Launch::new(2).config(&format!("[tcp]\n{line}")).start();
    let peer = Peer::open(broker.tcp());
    let Link::Tcp(stream) = peer.link() else { panic!("a TCP link") };
    look(&socket_towards(broker.process().pid(), stream.local_addr().expect("connected")))
}

/// What `look` sees of the broker's Unix socket, connected, when `line` stands in the table `[unix]`.
fn of_unix<T>(line: &str, look: impl Fn(&Socket) -> T) -> T {
    let mut broker = Launch::new(2).config(&format!("[unix]\n{line}")).start();
    let _peer = Peer::open(broker.unix());
    let connected = |socket: &Socket| {
        socket.is_listener().is_ok_and(|listens| !listens)
            && socket.local_addr().is_ok_and(|address| address.is_unix())
            && socket.peer_addr().is_ok()
    };
    let sockets: Vec<Socket> = sockets(broker.process().pid()).into_iter().filter(connected).collect();
    let [socket] = &sockets[..] else { panic!("one connection, not {}", sockets.len()) };
    look(socket)
}

#[test]
fn nodelay_is_on_the_socket() {
    for nodelay in [true, false] {
        assert_eq!(of_tcp(&format!("nodelay = {nodelay}"), |socket| socket.tcp_nodelay().expect("TCP")), nodelay);
    }
}

#[test]
fn loopback_is_paced_only_where_that_is_asked_for() {
    let control = |socket: &Socket| {
        let name = socket.tcp_congestion().expect("TCP");
        String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned()
    };
    let systems = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("this is Linux");
    assert_eq!(of_tcp("loopback_paced = true", control), systems.trim());
    assert_eq!(of_tcp("loopback_paced = false", control), "reno");
}

#[test]
fn keepalive_is_on_the_socket_with_its_time() {
    for seconds in [7, 60] {
        let (on, time) = of_tcp(&format!("keepalive_s = {seconds}"), |socket| {
            (socket.keepalive().expect("a socket"), socket.tcp_keepalive_time().expect("TCP"))
        });
        assert_eq!((on, time), (true, Duration::from_secs(seconds)));
    }
    assert!(!of_tcp("keepalive_s = 0", |socket| socket.keepalive().expect("a socket")), "0: never");
}

#[test]
fn the_bound_on_unsent_bytes_is_on_the_socket() {
    for bytes in [0, 16_384, 131_072] {
        let line = format!("notsent_lowat_bytes = {bytes}");
        assert_eq!(of_tcp(&line, |socket| socket.tcp_notsent_lowat().expect("TCP")), bytes);
    }
}

#[test]
fn buffer_sizes_are_on_the_socket() {
    // The kernel doubles what it is asked for, to have room for its own notes.
    for bytes in [50_000, 70_000] {
        let line = format!("send_buffer_bytes = {bytes}");
        let send = |socket: &Socket| socket.send_buffer_size().expect("a socket");
        assert_eq!((of_tcp(&line, send), of_unix(&line, send)), (2 * bytes, 2 * bytes));
        let receive = |socket: &Socket| socket.recv_buffer_size().expect("a socket");
        assert_eq!(of_tcp(&format!("receive_buffer_bytes = {bytes}"), receive), 2 * bytes);
    }
}

/// What `ss` says about the backlog of a listener: the second number behind LISTEN.
fn backlog(filter: &[&str]) -> u32 {
    let mut command = Command::new("ss");
    command.arg("-Hln").args(filter);
    let ended = run("ss", command);
    let text = ended.text();
    let words: Vec<&str> = text.split_whitespace().skip_while(|&word| word != "LISTEN").collect();
    words.get(2).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no listener: {text}{}", ended.stderr))
}

#[test]
fn the_backlog_is_on_every_listener() {
    if Command::new("ss").arg("-V").output().is_err() {
        eprintln!("!!! `ss` (iproute2) IS MISSING: THE BACKLOG IS NOT CHECKED HERE !!!");
        return;
    }
    for length in [7, 300] {
        let broker = Launch::new(2).config(&format!("[tcp]\nbacklog = {length}")).start();
        let Place::Tcp(address) = broker.tcp() else { panic!("a TCP endpoint") };
        let Place::Unix(path) = broker.unix() else { panic!("a Unix endpoint") };
        let path = path.to_str().expect("a plain path");
        let port = format!("sport = :{}", address.port());
        assert_eq!((backlog(&["-t", &port]), backlog(&["-x", "src", path])), (length, length));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the socket's file").permissions().mode() & 0o777
}

#[test]
fn the_unix_sockets_file_has_the_mode_asked_for() {
    for bits in ["600", "660", "777"] {
        let broker = Launch::new(1).config(&format!("[unix]\nmode = \"{bits}\"")).start();
        let Place::Unix(path) = broker.unix() else { panic!("a Unix endpoint") };
        assert_eq!(format!("{:o}", mode(path)), bits);
    }
}

#[test]
fn a_clients_nodelay_is_on_its_socket() {
    let broker = Launch::new(1).start();
    let Place::Tcp(address) = broker.tcp() else { panic!("a TCP endpoint") };
    for nodelay in [true, false] {
        let options = ConnectOptions::new().nodelay(nodelay);
        let client = options.connect_blocking(&broker.tcp().url()).expect("the broker listens");
        let socket = socket_towards(std::process::id(), *address);
        assert_eq!(socket.tcp_nodelay().expect("TCP"), nodelay);
        client.close().expect("everything was sent");
    }
}
