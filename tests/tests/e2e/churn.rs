//! Connections that come and are killed at any moment: the broker is left as it was.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use laneway_client::{ConnectOptions, StatValue};
use laneway_tests::real::frames::{declare, hello, opening, publish, subscribe};
use laneway_tests::real::link::{Link, Place};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};
use laneway_tests::sim::rng::Rng;

const ROUNDS: u64 = 4;
const THREADS: u64 = 4;
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Connections to make and kill: a hundred thousand with `LANEWAY_LONG=1`.
fn cycles() -> u64 {
    if std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1") { 100_000 } else { 20_000 }
}

/// Connects, gets as far as `rng` says, and ends in one of three ways. The broker may be slow to accept: then it waits.
fn live_and_die(place: &Place, rng: &mut Rng) {
    let mut link = Link::dial(place).expect("the backlog takes it");
    let filter = format!("churn/{}/#", rng.below(1_000));
    let frames = [
        opening(hello()),
        subscribe(1, &[&filter]).to_frame(),
        declare(2, 1, "churn/topic").to_frame(),
        publish(1, 1, 1, b"payload"),
    ]
    .concat();
    let sent = rng.below(frames.len() as u64 + 1) as usize;
    // The broker may have closed it before all of this is written.
    let _ = link.write_all(&frames[..sent]);
    match rng.below(3) {
        0 => link.reset(),
        1 => drop(link.shutdown(Shutdown::Both)),
        _ => {
            // Half of a farewell: the broker has to notice by itself.
            let _ = link.shutdown(Shutdown::Write);
            // Closed with unread bytes, which is a reset over TCP.
            link.reset();
        }
    }
}

/// What a broker holds at most, over all shards, whose only session is the one that asks.
const RESTING_MAX: [(&str, u64); 5] =
    [("connections", 1), ("filters", 0), ("buffers_held", 1), ("timers", 1), ("queue_bytes", 0)];

/// Waits until the broker holds nothing but the session that asks; with `timers`, until needless ones have gone, too,
/// which they do when their time comes.
fn wait_until_it_rests(broker: &RealBroker, timers: bool) {
    let client = ConnectOptions::new().no_reconnect().connect_blocking(&broker.unix().url()).expect("it serves");
    let until = std::time::Instant::now() + GUARD;
    loop {
        let stats = client.stats("shard.").expect("an answer");
        let sum = |name: &str| {
            let of_shards = stats.iter().filter(|stat| stat.name.split('.').skip(2).eq([name]));
            of_shards.map(|stat| if let StatValue::Number(value) = stat.value { value as u64 } else { 0 }).sum()
        };
        let held: [(&str, u64); 5] = RESTING_MAX.map(|(name, _)| (name, sum(name)));
        let rests =
            |((name, held), (_, most)): (&(&str, u64), (&str, u64))| *held <= most || *name == "timers" && !timers;
        if held.iter().zip(RESTING_MAX).all(rests) {
            return;
        }
        assert!(std::time::Instant::now() < until, "what is over is still held: {held:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn connections_killed_at_any_moment_leave_nothing_behind() {
    let broker = Launch::new(2).log("error").start();
    let mut resident = 0;
    for round in 0..ROUNDS {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let places = [broker.tcp(), broker.unix()];
                scope.spawn(move || {
                    let mut rng = Rng::new(0xC4_0217, round * THREADS + thread);
                    for number in 0..cycles() / ROUNDS / THREADS {
                        live_and_die(places[(number % 2) as usize], &mut rng);
                    }
                });
            }
        });
        wait_until_it_rests(&broker, false);
        let now = broker.resident_bytes();
        if round == 0 {
            // It has grown into its load.
            resident = now;
        }
        assert!(now <= resident + GROWTH_BYTES_MAX, "round {round}: {resident} bytes became {now}");
    }
    wait_until_it_rests(&broker, true);
    broker.stop_idle();
}
