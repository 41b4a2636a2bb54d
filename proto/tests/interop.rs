//! The two device libraries with each other, each in both roles: one plays the host as far as this needs one.

mod device;
mod serial;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use device::build::{program, rust_program};
use device::pair::Pair;
use device::process::CLOSED;
use serial::line::Damage;

/// Host and device: C and Rust, Rust and C, and each with itself.
fn pairs() -> &'static [(&'static str, PathBuf, PathBuf); 4] {
    static PAIRS: OnceLock<[(&'static str, PathBuf, PathBuf); 4]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let c_sources = ["tests/host.c", "laneway.c"];
        let c = [program("c-host", &c_sources, &["-DLW_HOST=1"]), program("c-end", &c_sources, &[])];
        let rust = [rust_program(&["--features", "host"]), rust_program(&[])];
        [
            ("C and Rust", c[0].clone(), rust[1].clone()),
            ("Rust and C", rust[0].clone(), c[1].clone()),
            ("C and C", c[0].clone(), c[1].clone()),
            ("Rust and Rust", rust[0].clone(), rust[1].clone()),
        ]
    })
}

fn open(host: &Path, device: &Path, baud: u32, seed: u64) -> Pair {
    let mut pair = Pair::new(host, device, baud, seed);
    assert!(pair.run_until(2_000, |pair| pair.ends.iter().all(|end| end.is_open)), "a good line opens");
    pair
}

/// Each end sends `count` numbered messages on lanes 1 and 2 and gets those of the other: complete, in order on lane 1.
fn exchange(pair: &mut Pair, what: &str, count: u32) {
    let payload = |number: u32| [&number.to_le_bytes()[..], &vec![number as u8; number as usize % 24]].concat();
    let before = [0, 1].map(|end: usize| (pair.ends[end].received.len(), pair.ends[end].acked));
    let mut next = [[0; 3]; 2];
    let done = pair.run_until(u64::from(count) * 1_000, |pair| {
        for end in 0..2 {
            for lane in [1, 2] {
                let number = next[end][usize::from(lane)];
                let acked = pair.ends[end].acked[usize::from(lane)] - before[end].1[usize::from(lane)];
                if number < count && number < acked + 2 && pair.publish(end, lane, &payload(number)) {
                    next[end][usize::from(lane)] += 1;
                }
            }
        }
        (0..2).all(|end| (1..3).all(|lane| pair.ends[end].acked[lane] - before[end].1[lane] == count))
    });
    assert!(done, "{what}: {next:?} sent; {:?}", pair.ends.each_ref().map(|end| end.acked));
    for (end, (received, _)) in before.into_iter().enumerate() {
        for lane in [1, 2] {
            let got = pair.ends[end].received[received..].iter().filter(|message| message.lane == lane);
            let mut got: Vec<_> = got.map(|message| message.payload.clone()).collect();
            if lane == 2 {
                got.sort_by_key(|message| u32::from_le_bytes(*message.first_chunk().expect("a number")));
            }
            assert!(got == (0..count).map(payload).collect::<Vec<_>>(), "{what}: end {end}, lane {lane}");
        }
    }
}

#[test]
fn the_libraries_understand_each_other_in_both_roles() {
    for (what, host, device) in pairs() {
        for baud in [9_600, 115_200, 921_600] {
            let mut pair = open(host, device, baud, u64::from(baud));
            exchange(&mut pair, what, 50);
            assert!(pair.ends.iter().all(|end| end.count(CLOSED) == 0), "{what}");
        }
    }
}

#[test]
fn they_do_so_over_a_lossy_line() {
    let damage = Damage { flip: 2e-4, drop: 1e-4, ..Damage::default() };
    for (seed, (what, host, device)) in (40..).zip(pairs()) {
        println!("{what}: seed {seed}");
        let mut pair = open(host, device, 115_200, seed);
        pair.damage(damage);
        exchange(&mut pair, what, 300);
        assert!(pair.ends.iter().all(|end| end.count(CLOSED) == 0), "{what}: the session lives on");
    }
}

#[test]
fn they_find_each_other_again_when_one_was_reset() {
    for (what, host, device) in pairs() {
        let mut pair = open(host, device, 115_200, 60);
        for end in [0, 1, 1, 0] {
            pair.start(end, 100 + pair.now.0 as u32);
            assert!(pair.run_until(500, |pair| pair.ends.iter().all(|end| end.is_open)), "{what}: end {end} is back");
            exchange(&mut pair, what, 10);
        }
    }
}
