//! Every relay, as a process, does the whole job: it forwards everything, in order, to everybody.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use laneway_bench::child::Child;
use laneway_bench::relay::Base;
use laneway_bench::sched::Cores;
use laneway_bench::wire::{Block, Expect, Framing, Index, Receive, Relay, Shape, Walk};

const BASES: [Base; 4] = [Base::Uring, Base::Tokio, Base::TokioUring, Base::Glommio];
const BLOCKS: u32 = 40;

fn relay(base: Base, flag: Option<&str>, subscribers: usize) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_laneway-bench"));
    // Tests are no measurement: both sides may share a processor.
    let cores = Cores::find().unwrap_or(Cores { target: 0, load: 0 });
    Child::relay(program, base, flag, subscribers, cores).expect("a relay")
}

/// Publishes `BLOCKS` blocks, leaves, and returns what each subscriber got until it was disconnected.
fn through(child: &Child, subscribers: usize, block: &mut Block) -> Vec<Vec<u8>> {
    let mut publisher = TcpStream::connect(child.address).expect("connects");
    let readers: Vec<_> = (0..subscribers)
        .map(|_| {
            let mut socket = TcpStream::connect(child.address).expect("connects");
            thread::spawn(move || {
                let mut got = Vec::new();
                socket.read_to_end(&mut got).expect("reads to the end");
                got
            })
        })
        .collect();
    for number in 0..BLOCKS {
        block.number_from(1 + number * block.messages());
        publisher.write_all(block.bytes()).expect("writes");
    }
    publisher.shutdown(Shutdown::Write).expect("leaves");
    readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
}

#[test]
fn every_relay_forwards_everything_in_order_to_every_subscriber_and_again_for_the_next_publisher() {
    for base in BASES.into_iter().filter(|base| base.is_built_in()) {
        let child = relay(base, None, 3);
        for payload_bytes in [64, 5_000, 300_000] {
            let shape = Shape { payload_bytes, topics: 1 };
            let mut block = Block::new(Framing::Relay, shape);
            for got in through(&child, 3, &mut block) {
                let mut receive = Walk::new(Relay::new(Expect::new(0, shape, block.messages()), shape));
                receive.on_bytes(&got).unwrap_or_else(|fault| panic!("{} {payload_bytes} B: {fault}", base.name()));
                assert_eq!(
                    receive.messages(),
                    u64::from(BLOCKS * block.messages()),
                    "{} {payload_bytes} B",
                    base.name()
                );
            }
        }
    }
}

#[test]
fn the_index_relay_gives_each_subscriber_its_own_frames() {
    let child = relay(Base::Uring, Some("--index"), 10);
    let shape = Shape { payload_bytes: 64, topics: 10 };
    let mut block = Block::new(Framing::Index, shape);
    for (index, got) in (0..).zip(through(&child, 10, &mut block)) {
        let mut receive = Walk::new(Index::new(Expect::new(index, shape, block.messages()), shape, index));
        receive.on_bytes(&got).unwrap_or_else(|fault| panic!("index {index}: {fault}"));
        assert_eq!(receive.messages(), u64::from(BLOCKS * block.messages() / 10));
    }
}

#[test]
fn a_relay_that_never_sleeps_forwards_everything_too() {
    let child = relay(Base::Uring, Some("--spin"), 1);
    let shape = Shape { payload_bytes: 64, topics: 1 };
    let mut block = Block::new(Framing::Relay, shape);
    for got in through(&child, 1, &mut block) {
        assert_eq!(got.len(), BLOCKS as usize * block.bytes().len());
    }
}

#[test]
fn with_pairs_each_publisher_has_a_subscriber_of_its_own() {
    let child = relay(Base::Tokio, Some("--pairs"), 1);
    let connect = || TcpStream::connect(child.address).expect("connects");
    // In the order of connecting: publisher, subscriber, publisher, subscriber.
    let mut ends = [connect(), connect(), connect(), connect()];
    let frame = |payload: &[u8]| [&(payload.len() as u32).to_le_bytes()[..], payload].concat();
    for (publisher, payload) in [(2, b"second"), (0, b" first")] {
        ends[publisher].write_all(&frame(payload)).expect("writes");
    }
    for (subscriber, payload) in [(1, b" first"), (3, b"second")] {
        ends[subscriber].set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        let mut got = [0; 10];
        ends[subscriber].read_exact(&mut got).expect("its own publisher's frame");
        assert_eq!(got[..], frame(payload));
    }
}

#[test]
fn a_subscriber_that_leaves_early_holds_nobody_up() {
    for base in BASES.into_iter().filter(|base| base.is_built_in()) {
        let child = relay(base, None, 2);
        let mut publisher = TcpStream::connect(child.address).expect("connects");
        let leaves = TcpStream::connect(child.address).expect("connects");
        let mut stays = TcpStream::connect(child.address).expect("connects");
        let shape = Shape { payload_bytes: 1_024, topics: 1 };
        let mut block = Block::new(Framing::Relay, shape);
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            stays.read_to_end(&mut got).map(|_| got)
        });
        for number in 0..BLOCKS {
            block.number_from(1 + number * block.messages());
            publisher.write_all(block.bytes()).expect("writes");
            if number == 3 {
                leaves.shutdown(Shutdown::Both).expect("leaves");
            }
        }
        drop(publisher);
        let got = reader.join().expect("no panic").expect("reads to the end");
        assert_eq!(got.len(), BLOCKS as usize * block.bytes().len(), "{}", base.name());
    }
}

#[test]
fn a_gate_that_cannot_run_exits_with_3_and_says_what_is_missing() {
    let run = Command::new(env!("CARGO_BIN_EXE_laneway-bench"))
        .args(["floor", "--gate", "--broker", "/nonexistent/lanewayd"])
        .output()
        .expect("runs");
    assert_eq!(run.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&run.stderr).contains("/nonexistent/lanewayd"));
}
