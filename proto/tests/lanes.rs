//! Random inputs against the machines of the lanes, beside naive models. A failure prints its smallest input and keeps
//! its seed beside this file, where every later run replays it first.

pub mod model;

use std::collections::VecDeque;

use laneway_proto::lane::credit::{CreditReceiver, CreditSender};
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::lane::policy::Policy;
use laneway_proto::lane::scheduler::{BURST, Next, Scheduler};
use laneway_proto::lane::sequencer::NewestOnly;
use laneway_proto::lane::table::{LaneName, LaneSpec, LaneTable};
use laneway_proto::time::{Duration, Instant};
use model::lane::{Arrival, Asking, compare_deliveries, compare_exact, compare_repeats, compare_seen, number};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lanes.regressions");

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::default()
    }
}

fn spec(number: u8, class: u8, weight: u8, rate_bytes_per_s: u32) -> LaneSpec {
    LaneSpec {
        name: LaneName::new(&format!("lane-{number}")).expect("a name"),
        kind: LaneKind::RO,
        class,
        weight,
        policy: Policy::Block,
        ttl_ms: 0,
        queue_bytes: 0,
        rate_bytes_per_s,
    }
}

/// The control lane, and lanes 1.. of these classes and weights; `rate` is that of one class.
fn table(lanes: &[(u8, u8)], rate: (u8, u32)) -> LaneTable {
    let mut table = LaneTable::STANDARD;
    for number in 1..6 {
        table = table.with(number, None).expect("fewer lanes");
    }
    for (number, &(class, weight)) in (1..).zip(lanes) {
        let rate = if class == rate.0 { rate.1 } else { 0 };
        table = table.with(number, Some(spec(number, class, weight, rate))).expect("one more lane");
    }
    table
}

fn first_number() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1u32), u32::MAX - 300.., 1u32..]
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_class_gets_nothing_while_a_class_before_it_is_ready(
        lanes in vec((1u8..8, 1u8..10), 1..15),
        events in vec((any::<prop::sample::Index>(), any::<bool>(), 16usize..70_000), 1..300),
    ) {
        let mut scheduler = Scheduler::new(&table(&lanes, (0, 0)));
        let mut ready = vec![false; lanes.len()];
        for (which, on, frame_bytes) in events {
            let changed = which.index(lanes.len());
            ready[changed] = on;
            scheduler.set_ready(changed as u8 + 1, on);
            let first = (0..lanes.len()).filter(|&lane| ready[lane]).map(|lane| lanes[lane].0).min();
            match (scheduler.next(Instant(0)), first) {
                (Next::Idle, None) => {}
                (Next::Lane { lane, bytes_max }, Some(class)) => {
                    let place = usize::from(lane) - 1;
                    prop_assert!(ready[place] && lanes[place].0 == class && bytes_max > 0);
                    scheduler.charge(Instant(0), lane, frame_bytes);
                }
                (next, first) => prop_assert!(false, "{next:?} with {first:?}"),
            }
        }
    }

    #[test]
    fn lanes_of_a_class_share_the_link_by_weight(
        weights in vec(1u8..10, 2..6),
        frames in vec(prop_oneof![16usize..200, 1_000usize..20_000, Just(65_535)], 2..6),
    ) {
        let lanes: Vec<_> = weights.iter().map(|&weight| (3, weight)).collect();
        let mut scheduler = Scheduler::new(&table(&lanes, (0, 0)));
        (1..=lanes.len() as u8).for_each(|lane| scheduler.set_ready(lane, true));
        let mut sent = vec![0u64; lanes.len()];
        let total = 400 * 65_535 * weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() / 10;
        while sent.iter().sum::<u64>() < total {
            let Next::Lane { lane, bytes_max } = scheduler.next(Instant(0)) else { panic!("all are ready") };
            let place = usize::from(lane) - 1;
            let frame = frames[place % frames.len()];
            let bytes = frame.max(bytes_max / frame * frame);
            scheduler.charge(Instant(0), lane, bytes);
            sent[place] += bytes as u64;
        }
        let weight_sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let all: u64 = sent.iter().sum();
        for (&sent, &weight) in sent.iter().zip(&weights) {
            let fair = all * u64::from(weight) / weight_sum;
            prop_assert!(sent.abs_diff(fair) * 20 <= fair, "{sent} of {all} for {weight} of {weight_sum}");
        }
    }

    #[test]
    fn a_class_never_sends_faster_than_its_rate_and_the_next_one_uses_the_rest(
        rate in 10_000u32..100_000_000,
        frames in vec(16usize..66_000, 1..20),
    ) {
        let mut scheduler = Scheduler::new(&table(&[(1, 1), (2, 1)], (1, rate)));
        scheduler.set_ready(1, true);
        let (mut now, mut sent, mut largest) = (Instant(0), 0u64, 0u64);
        for &frame in frames.iter().cycle().take(200) {
            match scheduler.next(now) {
                Next::Lane { lane: 1, .. } => {
                    scheduler.charge(now, 1, frame);
                    sent += frame as u64;
                    largest = largest.max(frame as u64);
                }
                Next::NotBefore(then) => {
                    prop_assert!(then > now);
                    scheduler.set_ready(2, true);
                    let other = matches!(scheduler.next(now), Next::Lane { lane: 2, .. });
                    prop_assert!(other, "the link would be idle");
                    scheduler.set_ready(2, false);
                    now = then;
                    prop_assert!(matches!(scheduler.next(now), Next::Lane { lane: 1, .. }), "it waits no longer than said");
                }
                other @ (Next::Lane { .. } | Next::Idle) => prop_assert!(false, "{other:?}"),
            }
            let allowed = u128::from(now.0 + BURST.0) * u128::from(rate) / 1_000_000_000 + u128::from(largest) + 1;
            prop_assert!(u128::from(sent) <= allowed, "{sent} bytes of {allowed} by {now:?}");
        }
    }

    #[test]
    fn credit_is_never_exceeded_and_never_leaves_a_frame_waiting_for_ever(
        window in 1u64..5_000,
        frame_bytes_max in 1u64..3_000,
        frames in vec(1u64..3_000, 1..60),
        events in vec((0u8..4, any::<prop::sample::Index>()), 0..300),
    ) {
        let mut link = Link::new(window, frame_bytes_max, frames);
        for (event, which) in events {
            match event {
                0 => link.send(),
                1 => link.arrive(),
                2 => link.consume(),
                _ => link.hear_of_credit(which),
            }
        }
        while !link.to_send.is_empty() {
            let before = link.to_send.len();
            link.send();
            while !link.under_way.is_empty() {
                link.arrive();
            }
            while !link.held.is_empty() {
                link.consume();
            }
            link.grants.last().map(|&total| link.sender.on_credit(total));
            link.send();
            prop_assert!(link.to_send.len() < before, "nothing moves any more: {link:?}");
        }
    }

    #[test]
    fn a_reliable_lane_delivers_each_number_once_or_reports_it_lost(
        first in first_number(),
        ordered in any::<bool>(),
        arrivals in vec(
            prop_oneof![
                6 => (0u64..40).prop_map(Arrival::Message),
                2 => (0u64..600).prop_map(Arrival::Message),
                2 => (0u64..60, 0u32..20).prop_map(|(place, count)| Arrival::Lost(place, count)),
                1 => (0u64..300, 0u32..900).prop_map(|(place, count)| Arrival::Lost(place, count)),
            ],
            0..120,
        ),
    ) {
        compare_exact(first, ordered, &arrivals);
    }

    #[test]
    fn a_number_is_seen_for_the_first_time_once(
        first in first_number(),
        places in vec(prop_oneof![5 => 3_000u64..3_040, 3 => 2_000u64..4_100, 1 => 0u64..50_000], 0..200),
    ) {
        compare_seen(first, &places);
    }

    #[test]
    fn only_what_enough_sessions_received_is_confirmed_and_nothing_else_is_in_the_way(
        first in first_number(),
        places in prop_oneof![1usize..8, Just(200)],
        events in vec(
            prop_oneof![
                4 => (0u8..3, 0u16..4).prop_map(|(count, wanted)| Asking::Message(count, wanted)),
                1 => (0u64..4, 1u16..3).prop_map(|(back, wanted)| Asking::Again(back, wanted)),
                8 => (0usize..40).prop_map(Asking::Received),
                1 => (0u64..4).prop_map(Asking::GiveUp),
                3 => Just(Asking::Tell),
            ],
            0..120,
        ),
    ) {
        compare_deliveries(first, places, &events);
    }

    #[test]
    fn a_message_that_comes_again_is_taken_once_and_in_order(
        first in first_number(),
        ordered in any::<bool>(),
        places in 0usize..4,
        messages in vec((0u32..5, prop_oneof![5 => 20_000u64..20_020, 1 => 0u64..40_000]), 0..150),
    ) {
        compare_repeats(first, ordered, places, &messages);
    }

    #[test]
    fn a_sequenced_lane_never_goes_back_unless_its_key_was_silent(
        first in first_number(),
        arrivals in vec((0u64..60, 0u32..700), 0..100),
    ) {
        let stale = Duration::from_millis(1_000);
        let (mut lane, mut now) = (NewestOnly::new(), Instant(5));
        let mut newest: Option<(u64, Instant)> = None;
        for (place, ms) in arrivals {
            now = now + Duration::from_millis(ms);
            let expected = newest.is_none_or(|(newest, at)| place > newest || now.since(at) >= stale);
            prop_assert_eq!(lane.accepts(now, number(first, place), stale), expected, "{} after {:?}", place, newest);
            if expected {
                newest = Some((place, now));
            }
        }
    }
}

/// A sender, a receiver, and what is between them.
#[derive(Debug)]
struct Link {
    window: u64,
    sender: CreditSender,
    receiver: CreditReceiver,
    to_send: VecDeque<u64>,
    under_way: VecDeque<u64>,
    held: VecDeque<u64>,
    /// Every total that was announced; any of them may arrive at any time, and again.
    grants: Vec<u64>,
}

impl Link {
    fn new(window: u64, frame_bytes_max: u64, frames: Vec<u64>) -> Self {
        let sender = CreditSender::new(window);
        let fits = |&frame: &u64| !sender.never_fits(frame) && frame <= frame_bytes_max;
        Self {
            window,
            sender,
            receiver: CreditReceiver::new(window, frame_bytes_max),
            to_send: frames.into_iter().filter(fits).collect(),
            under_way: VecDeque::new(),
            held: VecDeque::new(),
            grants: Vec::new(),
        }
    }

    fn send(&mut self) {
        while let Some(&frame) = self.to_send.front() {
            let enough = frame <= self.sender.available();
            assert_eq!(self.sender.spend(frame), enough);
            if !enough {
                break;
            }
            self.to_send.pop_front();
            self.under_way.push_back(frame);
            assert!(self.sender.spent() <= self.receiver.granted(), "{self:?}");
        }
    }

    fn arrive(&mut self) {
        let Some(frame) = self.under_way.pop_front() else { return };
        assert_eq!(self.receiver.on_received(frame), Ok(()));
        self.held.push_back(frame);
        assert_eq!(self.receiver.held(), self.held.iter().sum::<u64>());
        assert!(self.receiver.held() <= self.window, "{self:?}");
    }

    fn consume(&mut self) {
        let Some(frame) = self.held.pop_front() else { return };
        self.receiver.on_consumed(frame);
        self.grants.extend(self.receiver.poll_grant());
        assert!(self.grants.is_sorted_by(|a, b| a < b), "totals only grow: {:?}", self.grants);
    }

    fn hear_of_credit(&mut self, which: prop::sample::Index) {
        if !self.grants.is_empty() {
            let total = self.grants[which.index(self.grants.len())];
            let before = self.sender.available();
            assert_eq!(self.sender.on_credit(total), self.sender.available() > before);
        }
    }
}
