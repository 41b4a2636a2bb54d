use super::*;
use crate::lane::kind::LaneKind;
use crate::lane::policy::Policy;
use crate::lane::table::{LaneName, LaneSpec};
use alloc::vec::Vec;

const NOW: Instant = Instant(0);

/// Lanes 1.. of these classes and weights; `rates` are (class, bytes per second).
fn scheduler(lanes: &[(u8, u8)], rates: &[(u8, u32)]) -> Scheduler {
    let mut table = LaneTable::STANDARD;
    for number in 1..16 {
        table = table.with(number, None).expect("a smaller table");
    }
    for (number, &(class, weight)) in (1u8..).zip(lanes) {
        let name = LaneName::new(core::str::from_utf8(&[b'a' + number]).expect("a letter")).expect("a name");
        let rate = rates.iter().find(|rate| rate.0 == class).map_or(0, |rate| rate.1);
        let spec = LaneSpec {
            name,
            kind: LaneKind::RO,
            class,
            weight,
            policy: Policy::Block,
            ttl_ms: 0,
            queue_bytes: 0,
            rate_bytes_per_s: rate,
        };
        table = table.with(number, Some(spec)).expect("a valid lane");
    }
    Scheduler::new(&table)
}

fn lane_of(next: Next) -> u8 {
    match next {
        Next::Lane { lane, bytes_max } => {
            assert!(bytes_max > 0);
            lane
        }
        other @ (Next::NotBefore(_) | Next::Idle) => panic!("no lane: {other:?}"),
    }
}

#[test]
fn an_idle_link_has_no_turn_and_lanes_that_do_not_exist_get_none() {
    let mut turns = scheduler(&[(1, 1)], &[]);
    for stranger in [16, 255] {
        turns.set_ready(stranger, true);
        turns.charge(NOW, stranger, 9);
        assert!(!turns.is_ready(stranger));
    }
    assert_eq!(turns.next(NOW), Next::Idle);
    turns.set_ready(1, true);
    assert_eq!((turns.is_ready(1), lane_of(turns.next(NOW))), (true, 1));
    turns.set_ready(1, false);
    assert_eq!(turns.next(NOW), Next::Idle);
}

#[test]
fn lanes_that_nobody_described_are_served_behind_all_others() {
    let mut turns = scheduler(&[(1, 1)], &[]);
    for lane in [15, 1, 2] {
        turns.set_ready(lane, true);
    }
    assert_eq!(lane_of(turns.next(NOW)), 1);
    turns.set_ready(1, false);
    let mut served = [2, 15].map(|_| {
        let lane = lane_of(turns.next(NOW));
        turns.set_ready(lane, false);
        lane
    });
    served.sort_unstable();
    assert_eq!((served, turns.next(NOW)), ([2, 15], Next::Idle));
}

#[test]
fn a_command_is_behind_at_most_the_frame_that_is_being_sent() {
    let mut turns = scheduler(&[(5, 1), (1, 1)], &[]);
    turns.set_ready(1, true);
    for _ in 0..10 {
        assert_eq!(lane_of(turns.next(NOW)), 1);
        turns.charge(NOW, 1, 16_400);
        turns.set_ready(2, true);
        assert_eq!(lane_of(turns.next(NOW)), 2);
        turns.charge(NOW, 2, 50);
        turns.set_ready(2, false);
    }
}

#[test]
fn asked_twice_it_answers_the_same() {
    let mut turns = scheduler(&[(3, 2), (3, 1)], &[]);
    turns.set_ready(1, true);
    turns.set_ready(2, true);
    for _ in 0..20 {
        let next = turns.next(NOW);
        assert_eq!(turns.next(NOW), next);
        turns.charge(NOW, lane_of(next), 700);
    }
}

#[test]
fn a_turn_is_the_weight_in_kilobytes_and_an_overdraft_is_missing_the_next_time() {
    let mut turns = scheduler(&[(3, 2), (3, 1)], &[]);
    turns.set_ready(1, true);
    turns.set_ready(2, true);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 2_048 }, "lane 0, in turn at first, is of class 0");
    turns.charge(NOW, 1, 3_000);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 2, bytes_max: 1_024 });
    turns.charge(NOW, 2, 1_024);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 2_048 - 952 });
}

#[test]
fn an_idle_lane_saves_nothing_up() {
    let mut turns = scheduler(&[(3, 1), (3, 1)], &[]);
    turns.set_ready(1, true);
    for _ in 0..100 {
        assert_eq!(lane_of(turns.next(NOW)), 1);
        turns.charge(NOW, 1, 1_024);
    }
    turns.set_ready(2, true);
    let sent: Vec<u8> = (0..8)
        .map(|_| {
            let lane = lane_of(turns.next(NOW));
            turns.charge(NOW, lane, 1_024);
            lane
        })
        .collect();
    assert_eq!(sent, [2, 1, 2, 1, 2, 1, 2, 1]);
}

#[test]
fn a_class_ahead_of_its_rate_lets_the_next_one_send() {
    let mut turns = scheduler(&[(1, 1), (4, 1)], &[(1, 1_000_000)]);
    turns.set_ready(1, true);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 1_024 });
    turns.charge(NOW, 1, 10_000); // 10 ms of its rate, 5 of which it may be ahead
    assert_eq!(turns.next(NOW), Next::NotBefore(Instant(5_000_000)));
    turns.set_ready(2, true);
    assert_eq!(lane_of(turns.next(NOW)), 2);
    turns.charge(NOW, 2, 1_000_000);
    assert_eq!(lane_of(turns.next(Instant(4_999_999))), 2);
    assert_eq!(turns.next(Instant(5_000_000)), Next::Lane { lane: 1, bytes_max: 1 });
}

#[test]
fn what_is_left_of_a_turn_is_gone_with_the_last_frame() {
    let mut turns = scheduler(&[(3, 1), (3, 1)], &[]);
    turns.set_ready(1, true);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 1_024 });
    turns.charge(NOW, 1, 24);
    turns.set_ready(1, false);
    turns.set_ready(1, true);
    assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 1_024 }, "not 1,000 more");
}

#[test]
fn a_class_that_was_silent_may_be_ahead_of_its_rate_no_further_than_before() {
    let mut turns = scheduler(&[(1, 1)], &[(1, 1_000_000)]);
    turns.set_ready(1, true);
    let late = Instant(3_000_000_000);
    assert_eq!(lane_of(turns.next(late)), 1);
    turns.charge(late, 1, 10_000);
    assert_eq!(turns.next(late), Next::NotBefore(Instant(3_005_000_000)));
}

#[test]
fn lanes_that_owe_many_turns_get_them_paid_at_once() {
    let mut turns = scheduler(&[(3, 1), (3, 1)], &[]);
    turns.set_ready(1, true);
    turns.set_ready(2, true);
    for (lane, turns_owed) in [(1, 10), (2, 19)] {
        assert_eq!(turns.next(NOW), Next::Lane { lane, bytes_max: 1_024 });
        turns.charge(NOW, lane, 1_024 * (1 + turns_owed));
    }
    // Both are paid ten turns, of which lane 1 owes all; lane 2 gets one more behind each of its turns.
    for _ in 0..10 {
        assert_eq!(turns.next(NOW), Next::Lane { lane: 1, bytes_max: 1_024 });
        turns.charge(NOW, 1, 1_024);
    }
    assert_eq!(turns.next(NOW), Next::Lane { lane: 2, bytes_max: 1_024 });
}

#[test]
fn it_is_small() {
    assert!(size_of::<Scheduler>() <= 300, "{} bytes", size_of::<Scheduler>());
}
