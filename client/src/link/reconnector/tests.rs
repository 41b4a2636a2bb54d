//! Properties over many seeds; the seeds are fixed, so a failure repeats.

use std::time::Duration as Span;

use super::*;
use crate::backoff::Retry;

fn no_breaker() -> ReconnectOptions {
    ReconnectOptions::new().breaker(0, Span::ZERO)
}

/// Fails `count` attempts, each of which takes `took`; returns when each was made and its wait.
fn fail(reconnector: &mut Reconnector, start: Instant, count: u32, took: Duration) -> Vec<(Instant, Duration)> {
    let mut made = Vec::new();
    let mut now = start;
    let mut next = reconnector.on_down(now);
    while let Next::RetryIn(wait) = next {
        let at = reconnector.poll_timeout().expect("it waits");
        assert_eq!(at, now + wait);
        assert_eq!(reconnector.on_timeout(Instant(at.0 - 1)).filter(|_| wait > Duration::ZERO), None, "not early");
        assert_eq!(reconnector.on_timeout(at), Some(made.len() as u32 + 1));
        made.push((at, wait));
        if made.len() as u32 == count {
            break;
        }
        now = at + took;
        next = reconnector.on_attempt_failed(now, true, Duration::ZERO);
    }
    made
}

#[test]
fn every_attempt_falls_into_its_window_which_doubles_up_to_the_cap() {
    for seed in 0..500 {
        let mut reconnector = Reconnector::new(no_breaker(), seed);
        for (number, (_, wait)) in
            fail(&mut reconnector, Instant(5), 14, Duration::from_millis(5_000)).iter().enumerate()
        {
            let window = (100_u64 << number).min(30_000);
            assert!(wait.0 <= window * 1_000_000, "seed {seed}: wait {number} of {wait:?} in {window} ms");
        }
    }
}

#[test]
fn a_hundred_peers_that_lost_the_same_broker_spread_over_every_window() {
    const PEERS: u64 = 100;
    const BINS: usize = 5;
    for trial in 0..50 {
        let mut waits = vec![Vec::new(); 12];
        for peer in 0..PEERS {
            let mut reconnector = Reconnector::new(no_breaker(), trial * PEERS + peer);
            let made = fail(&mut reconnector, Instant(1), 12, Duration::from_millis(1));
            made.iter().enumerate().for_each(|(number, (_, wait))| waits[number].push(wait.0));
        }
        for (number, waits) in waits.iter().enumerate() {
            let window = (100_u64 << number).min(30_000) * 1_000_000;
            let mut bins = [0; BINS];
            waits.iter().for_each(|wait| bins[(wait * BINS as u64 / (window + 1)) as usize] += 1);
            let mean = PEERS as usize / BINS;
            assert!(bins.iter().all(|&count| count <= 2 * mean), "trial {trial}, attempt {number}: {bins:?}");
        }
    }
}

#[test]
fn attempts_and_time_are_bounded() {
    let tired = no_breaker().retry(Retry::new().attempts_max(3));
    let mut reconnector = Reconnector::new(tired, 1);
    assert_eq!(fail(&mut reconnector, Instant(0), 99, Duration::ZERO).len(), 3);
    assert_eq!((reconnector.poll_timeout(), reconnector.attempts()), (None, 3));
    let hurried = no_breaker().retry(Retry::new().elapsed_max(Span::from_secs(10)));
    let made = fail(&mut Reconnector::new(hurried, 1), Instant(0), 99, Duration::from_millis(4_000));
    assert!((3..=4).contains(&made.len()), "{made:?}");
}

#[test]
fn a_success_begins_anew_with_short_waits_and_all_attempts() {
    let mut reconnector = Reconnector::new(no_breaker().retry(Retry::new().attempts_max(9)), 3);
    fail(&mut reconnector, Instant(0), 8, Duration::ZERO);
    reconnector.on_up();
    assert_eq!((reconnector.attempts(), reconnector.poll_timeout()), (0, None));
    let made = fail(&mut reconnector, Instant(1 << 40), 99, Duration::ZERO);
    assert_eq!(made.len(), 9);
    assert!(made[0].1 <= Duration::from_millis(100));
}

#[test]
fn what_cannot_pass_ends_it_at_once() {
    let mut reconnector = Reconnector::new(no_breaker(), 1);
    fail(&mut reconnector, Instant(0), 1, Duration::ZERO);
    assert_eq!(reconnector.on_attempt_failed(Instant(9), false, Duration::ZERO), Next::GiveUp);
    assert_eq!(reconnector.on_timeout(Instant(u64::MAX)), None);
}

#[test]
fn a_broker_that_asks_for_time_gets_it() {
    let mut reconnector = Reconnector::new(no_breaker(), 1);
    fail(&mut reconnector, Instant(0), 1, Duration::ZERO);
    let asked = Duration::from_millis(7_000);
    assert_eq!(reconnector.on_attempt_failed(Instant(9), true, asked), Next::RetryIn(asked));
}

#[test]
fn the_breaker_opens_after_its_failures_probes_after_its_rest_and_closes_on_success() {
    let rest = Duration::from_millis(60_000);
    for seed in 0..100 {
        let options = ReconnectOptions::new().breaker(4, Span::from_secs(60));
        let mut reconnector = Reconnector::new(options, seed);
        fail(&mut reconnector, Instant(0), 4, Duration::ZERO);
        assert_eq!(reconnector.breaker(), BreakerState::Closed);
        let now = Instant(1 << 40);
        assert_eq!(reconnector.on_attempt_failed(now, true, Duration::ZERO), Next::RetryIn(rest));
        assert_eq!(reconnector.breaker(), BreakerState::Open);
        assert_eq!(reconnector.on_timeout(Instant((now + rest).0 - 1)), None);
        assert_eq!(reconnector.on_timeout(now + rest), Some(5));
        assert_eq!(reconnector.breaker(), BreakerState::HalfOpen);
        assert_eq!(reconnector.on_attempt_failed(now + rest, true, Duration::ZERO), Next::RetryIn(rest));
        assert_eq!(reconnector.on_timeout(now + rest + rest), Some(6));
        reconnector.on_up();
        assert_eq!(reconnector.breaker(), BreakerState::Closed);
    }
}
