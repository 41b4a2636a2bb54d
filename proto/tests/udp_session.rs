//! Sessions over a network that loses, doubles and reorders: each lane keeps its promise.

mod udp;

use laneway_proto::datagram::session::{Dropped, Ended, accept};
use laneway_proto::time::{Duration, Instant};
use udp::{Pair, Path, RO, RU, US, UU};

const BAD: Path = Path { loss_percent: 20.0, double_percent: 10.0, delay_us: 500, jitter_us: 3_000, ..Path::CLEAN };
const GOOD: Path = Path { loss_percent: 0.0, double_percent: 0.0, delay_us: 50, jitter_us: 0, ..Path::CLEAN };

fn number(body: &[u8]) -> u32 {
    u32::from_le_bytes(*body.first_chunk().expect("a number"))
}

/// `count` messages on each of `lanes`, from one side.
fn offer(pair: &mut Pair, side: usize, lanes: &[u8], count: u32) {
    for message in 0..count {
        for &lane in lanes {
            let body = [&message.to_le_bytes()[..], &[lane; 60]].concat();
            pair.sides[side].owner.offer(lane, 70_000, &body, None);
        }
    }
}

fn numbers(pair: &Pair, side: usize, lane: u8) -> Vec<u32> {
    pair.sides[side].owner.of(lane).into_iter().map(number).collect()
}

#[test]
fn each_lane_keeps_its_promise_over_a_bad_path() {
    for seed in 1..=20 {
        let mut pair = Pair::new(seed, BAD);
        offer(&mut pair, 0, &[RO, RU, US, UU], 1_000);
        offer(&mut pair, 1, &[0, RO], 500);
        assert!(pair.run(120_000, |pair| pair.is_settled()), "seed {seed}: not settled");
        let all: Vec<u32> = (0..1_000).collect();
        assert_eq!(numbers(&pair, 1, RO), all, "seed {seed}: RO is complete and in order");
        let mut unordered = numbers(&pair, 1, RU);
        unordered.sort_unstable();
        assert_eq!(unordered, all, "seed {seed}: RU is complete, each once");
        let newest = numbers(&pair, 1, US);
        assert!(newest.is_sorted_by(|a, b| a < b) && newest.len() > 10, "seed {seed}: US never goes back: {newest:?}");
        let mut once = numbers(&pair, 1, UU);
        let arrived = once.len();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), arrived, "seed {seed}: UU at most once");
        assert!((600..1_000).contains(&arrived), "seed {seed}: {arrived} of UU");
        assert_eq!(numbers(&pair, 0, 0), (0..500).collect::<Vec<_>>(), "seed {seed}: lane 0, the other way");
        assert_eq!(numbers(&pair, 0, RO), (0..500).collect::<Vec<_>>(), "seed {seed}: RO, the other way");
        for side in &pair.sides {
            assert_eq!((side.owner.bodies(), side.settled[1], side.settled[2]), (0, 0, 0), "seed {seed}");
        }
    }
}

#[test]
fn nothing_is_sent_again_where_nothing_is_lost() {
    let mut pair = Pair::new(1, GOOD);
    for block in 0..100u32 {
        for message in 0..10_000u32 {
            let body = (block * 10_000 + message).to_le_bytes();
            pair.sides[0].owner.offer(RO, 70_000, &body, None);
        }
        assert!(pair.run(10_000, |pair| pair.is_settled()), "block {block}");
        let arrived = numbers(&pair, 1, RO);
        assert!(arrived.into_iter().eq(block * 10_000..(block + 1) * 10_000), "block {block}");
        pair.sides[1].owner.delivered.clear();
    }
    let counters = pair.sides[0].machine.counters();
    assert_eq!((counters.retransmitted, counters.lost, counters.probes), (0, 0, 0), "{counters:?}");
    assert_eq!(pair.sides[0].settled[0], 1_000_000);
}

#[test]
fn duplicates_and_replays_change_nothing() {
    let mut pair = Pair::new(3, Path { jitter_us: 500, ..GOOD });
    pair.trace = Some(Vec::new());
    offer(&mut pair, 0, &[RO, RU, US, UU], 200);
    assert!(pair.run(10_000, |pair| pair.is_settled()));
    // The last acknowledgements arrive, too.
    pair.run(100, |_| false);
    let trace = pair.trace.take().unwrap_or_default();
    let now = pair.now;
    for side in 0..2 {
        let before = (pair.sides[side].owner.delivered.clone(), format!("{:?}", pair.sides[side].machine.counters()));
        let replayed: Vec<_> = trace.iter().filter(|(from, _)| *from != side).collect();
        for (_, bytes) in &replayed {
            assert_eq!(pair.sides[side].on_datagram(now, bytes), Err(Dropped::Duplicate));
        }
        let duplicates = pair.sides[side].machine.counters().duplicates;
        assert!(duplicates >= replayed.len() as u64);
        assert_eq!(before.0, pair.sides[side].owner.delivered);
    }
}

#[test]
fn strangers_other_epochs_and_damaged_datagrams_change_nothing() {
    let mut pair = Pair::new(4, GOOD);
    pair.trace = Some(Vec::new());
    offer(&mut pair, 0, &[RO], 10);
    assert!(pair.run(1_000, |pair| pair.is_settled()));
    offer(&mut pair, 0, &[RO], 1);
    let sent_before = pair.trace.as_ref().map_or(0, Vec::len);
    pair.path.loss_percent = 100.0;
    pair.run(1, |_| false);
    let trace = pair.trace.take().unwrap_or_default();
    let (_, fresh) = trace[sent_before..].iter().find(|(from, _)| *from == 0).expect("a datagram was sent");
    let now = pair.now;
    let side = &mut pair.sides[1];
    let mut refused = |at: usize, bits: u8, bytes: &[u8]| {
        let mut changed = bytes.to_vec();
        changed[at] ^= bits;
        side.on_datagram(now, &changed).expect_err("it is refused")
    };
    assert_eq!(refused(0, 0x10, fresh), Dropped::Stray, "another protocol");
    assert_eq!(refused(2, 1, fresh), Dropped::Epoch);
    assert_eq!(refused(5, 1, fresh), Dropped::Stray, "another session");
    assert!(matches!(refused(16, 1, fresh), Dropped::Malformed(_)), "a frame that is longer than the datagram");
    assert!(matches!(refused(24, 8, fresh), Dropped::Malformed(_)), "a lane that does not exist");
    assert_eq!(side.owner.of(RO).len(), 10);
    assert!(side.on_datagram(now, fresh).is_ok(), "as it was, it counts");
    assert_eq!(side.owner.of(RO).len(), 11);
}

#[test]
fn a_peer_that_forgot_the_session_says_so_and_it_ends() {
    let mut pair = Pair::new(5, GOOD);
    offer(&mut pair, 0, &[RO, UU], 3);
    pair.path.loss_percent = 100.0;
    pair.trace = Some(Vec::new());
    pair.run(5, |_| false);
    let trace = pair.trace.take().unwrap_or_default();
    let gone = accept::answer_gone(&trace[0].1, 7).expect("an answer");
    assert!(gone.len() <= trace[0].1.len(), "no answer is longer than what it answers");
    assert_eq!(accept::gone_session(&gone), Some(0x202));
    let (now, side) = (pair.now, &mut pair.sides[0]);
    let mut other = gone;
    other[32] ^= 1;
    assert!(side.on_datagram(now, &other).is_err() && side.machine.ended().is_none(), "GONE of another session");
    assert!(side.on_datagram(now, &gone).is_err());
    assert_eq!(side.machine.ended(), Some(Ended::Gone));
    pair.step(now + Duration(1));
    assert_eq!(pair.sides[0].settled[2], 3, "what was under way is maybe delivered");
}

#[test]
fn silence_ends_a_session_and_a_quiet_path_does_not() {
    let mut pair = Pair::new(6, GOOD);
    offer(&mut pair, 0, &[RO], 3);
    assert!(!pair.run(60_000, |pair| pair.sides.iter().any(|side| side.machine.ended().is_some())), "a quiet minute");
    assert_eq!(pair.sides[0].machine.counters().retransmitted, 0);
    pair.path.loss_percent = 100.0;
    offer(&mut pair, 0, &[RO], 1);
    let cut: Instant = pair.now;
    assert!(pair.run(10_000, |pair| pair.sides.iter().all(|side| side.machine.ended() == Some(Ended::Dead))));
    assert!(pair.now.since(cut) <= Duration::from_millis(5_000), "{:?}", pair.now.since(cut));
}

#[test]
fn an_owner_without_room_gets_it_later_and_the_session_lives() {
    let mut pair = Pair::new(7, GOOD);
    offer(&mut pair, 0, &[RO], 100);
    pair.sides[1].owner.full = true;
    assert!(!pair.run(8_000, |pair| pair.sides.iter().any(|side| side.machine.ended().is_some())), "it is no silence");
    assert_eq!(pair.sides[1].owner.of(RO).len(), 0);
    pair.sides[1].owner.full = false;
    assert!(pair.run(5_000, |pair| pair.is_settled()));
    assert_eq!(numbers(&pair, 1, RO), (0..100).collect::<Vec<_>>());
}

#[test]
fn what_is_too_old_is_given_up_as_lost_and_what_follows_is_not() {
    let mut pair = Pair::new(8, GOOD);
    let deadline = pair.now + Duration::from_millis(20);
    pair.path.loss_percent = 100.0;
    for message in 0..3u32 {
        pair.sides[0].owner.offer(RO, 70_000, &message.to_le_bytes(), Some(deadline));
    }
    pair.run(50, |_| false);
    pair.path.loss_percent = 0.0;
    offer(&mut pair, 0, &[RO], 5);
    assert!(pair.run(5_000, |pair| pair.is_settled()));
    assert_eq!(numbers(&pair, 1, RO), [0, 1, 2, 3, 4]);
    assert_eq!(pair.sides[1].owner.lost.iter().map(|lost| lost.messages).sum::<u32>(), 3);
    assert_eq!(pair.sides[0].settled, [5, 3, 0]);
}

#[test]
fn a_lane_that_misses_something_holds_up_no_other() {
    let mut pair = Pair::new(9, GOOD);
    offer(&mut pair, 0, &[RO], 1);
    pair.path.loss_percent = 100.0;
    pair.run(1, |_| false);
    pair.path.loss_percent = 0.0;
    // Its one datagram is gone; others go on before it is found out.
    offer(&mut pair, 0, &[RU, UU], 1);
    pair.run(2, |_| false);
    assert_eq!((numbers(&pair, 1, RU), numbers(&pair, 1, UU)), (vec![0], vec![0]));
    assert!(pair.run(2_000, |pair| pair.is_settled()));
    assert_eq!(numbers(&pair, 1, RO), [0]);
}

#[test]
fn what_is_to_be_said_of_lost_datagrams_does_not_hold_up_full_ones() {
    let mut pair = Pair::new(10, GOOD);
    let room = pair.sides[0].machine.room_bytes() - 16;
    for message in 0..2_000u32 {
        let mut body = vec![0; room];
        body[..4].copy_from_slice(&message.to_le_bytes());
        pair.sides[0].owner.offer(RO, 70_000, &body, None);
    }
    pair.path.loss_percent = 20.0;
    pair.run(100, |pair| numbers(pair, 1, RO).len() > 500);
    pair.path.loss_percent = 0.0;
    let start = pair.now;
    // It comes with a timer of a second, if nothing else does.
    assert!(pair.run(1_000, |pair| numbers(pair, 1, RO).len() == 2_000), "{} arrived", numbers(&pair, 1, RO).len());
    assert!(pair.now.since(start) < Duration::from_millis(500), "{:?}", pair.now.since(start));
}
