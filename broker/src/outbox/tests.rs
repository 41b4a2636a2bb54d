use super::*;
use crate::pool::{BufId, PoolShape};
use laneway_proto::frame::lost::Lost;
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::HEADER_BYTES;
use proptest::prelude::*;

pub(super) const SHAPE: PoolShape = PoolShape {
    ingress_buffer_bytes: 4_096,
    ingress_buffers: 8,
    ingress_buffers_max: 8,
    egress_buffer_bytes: 64,
    egress_buffers_kept: 16,
};
const T0: Instant = Instant(0);

fn frame(topic: u32, lane: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header { topic, lane, ..Header::new(Kind::PUB, payload.len()) }.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn frames_in(bytes: &[u8]) -> u32 {
    let mut frames = 0;
    walk(bytes, |_, _| frames += 1);
    frames
}

const fn service(lane: u8, policy: Policy, bytes_max: u32) -> Service {
    Service { lane, policy, bytes_max, ttl_ms: 0, rate_hz: 0 }
}

/// An outbox under test, with everything it needs.
struct Bench {
    outbox: Outbox,
    pool: Pool,
    drops: Drops,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { outbox: Outbox::default(), pool: Pool::new(SHAPE), drops: Drops::default(), now: T0 }
    }

    fn push(&mut self, service: &Service, topic: u32, bytes: &[u8]) -> bool {
        self.push_with(service, topic, bytes, None)
    }

    fn push_with(&mut self, service: &Service, topic: u32, bytes: &[u8], mark: Option<Mark>) -> bool {
        let count = frames_in(bytes);
        let frames = Frames { topic, head: bytes, pieces: &[], whole: bytes, share: false, count, mark };
        self.outbox.push(self.now, service, &frames, &LaneTable::STANDARD, &mut self.pool, &mut self.drops)
    }

    /// What the next send would carry; it takes all of it.
    fn send(&mut self) -> Vec<u8> {
        let mut pieces = [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX];
        let count = self.outbox.start_send(self.now, &mut pieces, &mut self.pool, &mut self.drops);
        let bytes: Vec<u8> = pieces[..count].iter().flat_map(|&piece| self.pool.piece(piece).to_vec()).collect();
        if count > 0 {
            self.outbox.on_sent(bytes.len() as u32, &mut self.pool);
        }
        bytes
    }

    /// Everything that leaves, frame by frame.
    fn send_all(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let sent = self.send();
            if sent.is_empty() {
                break;
            }
            bytes.extend(sent);
        }
        let mut frames = Vec::new();
        walk(&bytes, |frame, _| frames.push(frame.to_vec()));
        frames
    }
}

fn lost(frame: &[u8]) -> Option<Lost> {
    let header = Header::decode(frame.first_chunk::<HEADER_BYTES>()?).ok()?;
    if header.kind == Kind::LOST { Lost::decode(&header, &frame[HEADER_BYTES..]).ok() } else { None }
}

#[test]
fn the_oldest_frames_go_and_the_subscriber_is_told_before_the_next_one() {
    let mut bench = Bench::new();
    let stream = service(4, Policy::DropOldest, 3 * 17);
    for value in 0..10u8 {
        assert!(!bench.push(&stream, 70_000, &frame(70_000, 4, &[value])));
    }
    assert_eq!(bench.outbox.bytes(), 3 * 17, "the bound holds at every moment");
    let sent = bench.send_all();
    let report = Lost { topic: 70_000, lane: 4, reason: LossReason::Overflow, first: 0, count: 7 };
    assert_eq!(lost(&sent[0]), Some(report));
    assert_eq!(sent[1..].iter().map(|frame| frame[16]).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!((bench.drops[4][LossReason::Overflow.index()], bench.pool.held()), (7, 0));
}

#[test]
fn the_newest_frames_are_refused_and_reported_within_a_second() {
    let mut bench = Bench::new();
    let refusing = service(1, Policy::DropNewest, 2 * 17);
    for value in 0..5u8 {
        bench.push(&refusing, 70_000, &frame(70_000, 1, &[value]));
    }
    let sent = bench.send_all();
    let report = Lost { topic: 70_000, lane: 1, reason: LossReason::DropNewest, first: 0, count: 3 };
    assert_eq!((lost(&sent[0]), sent.len()), (Some(report), 3));
    assert_eq!((sent[1][16], sent[2][16]), (0, 1));
    // Nothing follows that a report could stand before.
    for _ in 0..4 {
        bench.push(&refusing, 70_001, &frame(70_001, 1, &[9]));
    }
    assert_eq!(bench.send_all().len(), 3, "two frames, and the report before them");
    for _ in 0..3 {
        bench.push(&refusing, 70_001, &frame(70_001, 1, &[9]));
    }
    assert_eq!(bench.outbox.poll_timeout(), Some(Instant(1_000_000_000)));
}

#[test]
fn a_newer_value_replaces_the_queued_one_of_its_topic() {
    let mut bench = Bench::new();
    let state = service(3, Policy::Conflate, 10_000);
    for value in 0..100u8 {
        for topic in [70_000, 70_001] {
            bench.push(&state, topic, &frame(topic, 3, &[value]));
        }
    }
    let sent = bench.send_all();
    assert_eq!(sent.len(), 4, "one report and one value for each topic");
    assert_eq!(
        lost(&sent[0]).map(|lost| (lost.topic, lost.reason, lost.count)),
        Some((70_000, LossReason::Conflated, 99))
    );
    assert_eq!((sent[1][16], sent[3][16]), (99, 99));
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn a_session_that_may_not_lag_ends_when_it_does() {
    let mut bench = Bench::new();
    let strict = service(1, Policy::Disconnect, 17);
    assert!(!bench.push(&strict, 70_000, &frame(70_000, 1, &[1])));
    assert!(bench.push(&strict, 70_000, &frame(70_000, 1, &[2])));
}

#[test]
fn what_waited_too_long_is_dropped_and_reported() {
    let mut bench = Bench::new();
    let brief = Service { ttl_ms: 10, ..service(1, Policy::Block, 10_000) };
    bench.push(&brief, 70_000, &frame(70_000, 1, &[1]));
    bench.now = Instant(9_999_999);
    bench.push(&brief, 70_000, &frame(70_000, 1, &[2]));
    bench.now = Instant(10_000_000);
    let sent = bench.send_all();
    assert_eq!(lost(&sent[0]).map(|lost| (lost.reason, lost.count)), Some((LossReason::Ttl, 1)));
    assert_eq!((sent.len(), sent[1][16]), (2, 2));
}

#[test]
fn a_command_stands_behind_no_bulk_that_is_not_yet_on_the_link() {
    let mut bench = Bench::new();
    let bulk = service(5, Policy::Block, 1_000_000);
    let command = service(1, Policy::Block, 1_000_000);
    bench.push(&command, 70_000, &frame(70_000, 1, &[0]));
    bench.send_all();
    for _ in 0..100 {
        bench.push(&bulk, 70_001, &frame(70_001, 5, &[5; 1_000]));
    }
    let first = bench.send();
    assert!(first.len() <= WIRE_BYTES_MAX_SHARED as usize + 1_016, "{} bytes are ahead of a command", first.len());
    bench.push(&command, 70_000, &frame(70_000, 1, &[1]));
    let next = bench.send();
    assert_eq!((next[8], next[16]), (1, 1), "the command is the next frame");
}

#[test]
fn a_goodbye_leaves_behind_everything_that_waits() {
    let mut bench = Bench::new();
    let command = service(1, Policy::Block, 1_000_000);
    bench.outbox.push_last(&frame(0, 0, b"bye"));
    bench.push(&command, 70_000, &frame(70_000, 1, &[1]));
    let sent = bench.send_all();
    assert_eq!((sent.len(), &sent[1][16..]), (2, &b"bye"[..]));
    assert!(bench.outbox.is_empty());
}

#[test]
fn a_stopped_publisher_goes_on_only_when_half_of_the_queue_is_gone() {
    let mut bench = Bench::new();
    let feeder = Blocked { feeder: Feeder { shard: 0, key: Key { slot: 1, generation: 2 } }, lane: 1 };
    let command = service(1, Policy::Block, 40);
    for value in 0..3 {
        assert_eq!(bench.outbox.is_full(&command), value == 3);
        bench.push(&command, 70_000, &frame(70_000, 1, &[value]));
    }
    assert!(bench.outbox.is_full(&command));
    assert!(bench.outbox.block(&command, feeder, Instant(5)));
    assert!(!bench.outbox.block(&command, feeder, Instant(9)), "stopped once");
    assert_eq!(bench.outbox.blocked_since(), Some(Instant(5)));
    let mut unblocked = Vec::new();
    bench.outbox.take_unblocked(false, &mut unblocked);
    assert_eq!(unblocked, []);
    bench.send_all();
    bench.outbox.take_unblocked(false, &mut unblocked);
    assert_eq!(unblocked, [feeder]);
    assert_eq!(bench.outbox.blocked_since(), None);
}

#[test]
fn a_report_that_is_due_waits_for_the_end_of_the_send_before_it() {
    let mut bench = Bench::new();
    let refusing = service(1, Policy::DropNewest, 17);
    bench.push(&refusing, 70_000, &frame(70_000, 1, &[0]));
    let mut pieces = [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX];
    let count = bench.outbox.start_send(T0, &mut pieces, &mut bench.pool, &mut bench.drops);
    assert_eq!(count, 1);
    bench.push(&refusing, 70_000, &frame(70_000, 1, &[1]));
    bench.push(&refusing, 70_000, &frame(70_000, 1, &[2]));
    bench.now = Instant(5_000_000_000);
    assert_eq!(bench.outbox.poll_timeout(), None, "a shard that looks again at once would never rest");
    bench.outbox.on_sent(17, &mut bench.pool);
    assert_eq!(bench.outbox.poll_timeout(), Some(Instant(1_000_000_000)));
    let sent = bench.send_all();
    assert_eq!((lost(&sent[0]).map(|lost| lost.count), sent.len()), (Some(1), 2));
}

#[test]
fn a_publish_is_received_when_the_peer_has_counted_its_last_frame_and_reports_of_losses_count() {
    let mut bench = Bench::new();
    let mark = |ticket| Mark { publisher: Feeder { shard: 1, key: Key { slot: 2, generation: 3 } }, lane: 2, ticket };
    let (command, lossy) = (service(1, Policy::DropNewest, 50), service(4, Policy::DropOldest, 1_000));
    bench.outbox.count_frames();
    for ticket in 1..=4 {
        let run = [frame(70_000, 1, &[1]), frame(70_000, 1, &[2])].concat();
        bench.push_with(&command, 70_000, &run, Some(mark(ticket)));
    }
    bench.push_with(&lossy, 70_000, &frame(70_000, 4, &[3]), Some(mark(9)));
    let sent = bench.send_all();
    assert_eq!(sent.iter().filter(|frame| frame[8] == 1).count(), 5, "two runs, and a report of two others");
    let mut told = Vec::new();
    for (lane, total) in [(1, 2), (1, 3), (1, 5), (4, 1)] {
        bench.outbox.take_received(lane, total, &mut told).expect("so many were sent");
        told.push(mark(0));
    }
    let tickets: Vec<u32> = told.iter().map(|mark| mark.ticket).collect();
    assert_eq!(tickets, [0, 1, 0, 2, 0, 0], "the report is the first frame; a lane that loses confirms nothing");
    assert_eq!(bench.outbox.take_received(1, 6, &mut told), Err(PeerFault::CountAhead));
}

#[test]
fn a_frame_waits_for_credit_and_one_that_no_credit_allows_is_reported() {
    let mut bench = Bench::new();
    bench.outbox.set_credit(&[0, 40, 40]);
    let (one, two) = (service(1, Policy::Block, 1_000), service(2, Policy::Block, 1_000));
    for value in 0..3 {
        bench.push(&one, 70_000, &frame(70_000, 1, &[value]));
    }
    assert_eq!(bench.send_all().len(), 2, "34 of 40 bytes");
    bench.push(&two, 70_001, &frame(70_001, 2, &[0; 25]));
    bench.push(&two, 70_001, &frame(70_001, 2, &[0; 24]));
    let sent = bench.send_all();
    assert_eq!((sent.len(), sent[0][8]), (2, 2), "the other lane goes on");
    assert_eq!(
        lost(&sent[0]).map(|lost| (lost.topic, lost.count, lost.reason)),
        Some((70_001, 1, LossReason::Overflow))
    );
    assert!(!bench.outbox.on_credit(1, 40), "no more than before");
    assert!(bench.outbox.on_credit(1, 51));
    assert_eq!(bench.send_all().len(), 1);
    assert_eq!(bench.pool.held(), 0);
}

#[test]
fn what_a_value_replaced_is_told_with_it_when_the_reader_has_room_and_not_every_second() {
    let mut bench = Bench::new();
    bench.outbox.set_credit(&[0, 0, 0, 20]);
    let state = service(3, Policy::Conflate, 10_000);
    for value in 0..5u8 {
        bench.push(&state, 70_000, &frame(70_000, 3, &[value]));
    }
    assert_eq!(bench.send_all().len(), 2, "a report and the newest value");
    for value in 5..9u8 {
        bench.push(&state, 70_000, &frame(70_000, 3, &[value]));
    }
    for second in 1..10 {
        bench.now = Instant(second * 1_000_000_000);
        assert_eq!(bench.send_all().len(), 0, "what was replaced is told with the value");
    }
    bench.outbox.on_credit(3, 40);
    let sent = bench.send_all();
    assert_eq!(lost(&sent[0]).map(|lost| (lost.topic, lost.count)), Some((70_000, 3)));
    assert_eq!((sent.len(), sent[1][16]), (2, 8));
}

#[test]
fn what_waits_for_a_frame_that_never_leaves_is_told_all_the_same() {
    let told = |sent: &[Vec<u8>]| sent.iter().filter_map(|frame| lost(frame)).map(|lost| lost.count).sum::<u32>();
    let mut bench = Bench::new();
    let short = Service { ttl_ms: 500, ..service(3, Policy::DropOldest, 2 * 17) };
    for value in 0..5u8 {
        bench.push(&short, 70_000, &frame(70_000, 3, &[value]));
    }
    bench.now = Instant(1_000_000_000);
    assert_eq!(bench.send_all().len(), 0, "two frames wait no longer, three were left to them");
    bench.now = Instant(2_000_000_000);
    let sent = bench.send_all();
    assert_eq!((told(&sent), sent.len()), (5, 2));

    let mut bench = Bench::new();
    bench.outbox.set_credit(&[0, 0, 0, 0]);
    let state = service(3, Policy::Conflate, 10_000);
    for value in 0..5u8 {
        bench.push(&state, 70_000, &frame(70_000, 3, &[value]));
    }
    bench.outbox.push_last(b"goodbye");
    bench.now = Instant(1_000_000_000);
    assert_eq!(told(&bench.send_all()), 5, "what no credit ever allows is told with what it replaced");
}

#[test]
fn who_pulls_frames_gets_what_a_rate_held_back_when_its_time_has_come() {
    let mut bench = Bench::new();
    let few = Service { rate_hz: 10, ..service(3, Policy::Conflate, 10_000) };
    let pull = |bench: &mut Bench| {
        let mut out = Vec::new();
        for lane in [Some(3), Some(3), None] {
            bench.outbox.pull(bench.now, lane, &mut bench.pool, &mut bench.drops, &mut out);
        }
        let mut frames = Vec::new();
        walk(&out, |frame, _| frames.push(frame.to_vec()));
        frames
    };
    for value in 0..3u8 {
        bench.push(&few, 70_000, &frame(70_000, 3, &[value]));
    }
    assert_eq!(pull(&mut bench).last(), Some(&frame(70_000, 3, &[0])));
    bench.now = bench.outbox.poll_timeout().expect("the last value waits for its time");
    assert_eq!(pull(&mut bench).last(), Some(&frame(70_000, 3, &[2])));
}

#[test]
fn what_was_dropped_of_several_topics_in_a_row_is_told_topic_by_topic() {
    let mut bench = Bench::new();
    let dropping = service(1, Policy::DropOldest, 3 * 17);
    for topic in [70_000, 70_000, 70_001, 70_000, 70_002] {
        bench.push(&dropping, topic, &frame(topic, 1, &[0]));
    }
    bench.push(&dropping, 70_002, &[frame(70_002, 1, &[1]), frame(70_002, 1, &[2])].concat());
    bench.now = Instant(1_000_000_000);
    let sent = bench.send_all();
    let reports = sent.iter().filter_map(|frame| lost(frame));
    let mut told: Vec<(u32, u32)> = reports.map(|lost| (lost.topic, lost.count)).collect();
    told.sort_unstable();
    assert_eq!(told, [(70_000, 3), (70_001, 1)]);
}

#[test]
fn the_rest_of_a_message_that_was_cut_replaces_no_value() {
    let mut bench = Bench::new();
    let state = service(2, Policy::Conflate, 40);
    let parts = parts_of(1, 3);
    bench.push(&state, 70_000, &parts[0]);
    bench.push(&state, 70_000, &parts[1]);
    let value = frame(70_000, 2, b"value");
    bench.push(&state, 70_000, &value);
    bench.push(&state, 70_000, &parts[2]);
    let sent = bench.send_all();
    assert_eq!(sent.iter().filter_map(|frame| lost(frame)).map(|lost| lost.count).sum::<u32>(), 1);
    assert_eq!(sent.last(), Some(&value));
}

proptest! {
    /// Lanes and policies mixed, credit in any steps: never more than was granted, and with credit for all of it, all of
    /// it leaves in its order.
    #[test]
    fn what_leaves_keeps_to_the_credit_and_stops_no_other_lane(
        window in 46u64..200,
        steps in prop::collection::vec((1u8..4, 0usize..30, 0u64..120, any::<bool>()), 1..120),
    ) {
        let mut bench = Bench::new();
        bench.outbox.set_credit(&[window; 4]);
        let (mut pushed, mut granted, mut spent) = ([0u8; 4], [window; 4], [0u64; 4]);
        let mut leaves: Vec<Vec<u8>> = Vec::new();
        for (lane, payload_bytes, grant, send) in steps {
            let at = usize::from(lane);
            let policy = if lane == 3 { Policy::DropOldest } else { Policy::Block };
            let payload = vec![pushed[at]; payload_bytes.max(1)];
            bench.push(&service(lane, policy, 100_000), 70_000, &frame(70_000, lane, &payload));
            pushed[at] += 1;
            granted[at] += grant;
            bench.outbox.on_credit(lane, granted[at]);
            if send {
                for frame in bench.send_all() {
                    spent[usize::from(frame[8])] += frame.len() as u64;
                    leaves.push(frame);
                }
                prop_assert!(spent.iter().zip(&granted).all(|(spent, granted)| spent <= granted), "{spent:?} {granted:?}");
            }
        }
        for lane in 1..4 {
            bench.outbox.on_credit(lane, 1_000_000);
        }
        leaves.extend(bench.send_all());
        for lane in 1..4u8 {
            let values: Vec<u8> = leaves.iter().filter(|frame| frame[8] == lane).map(|frame| frame[16]).collect();
            prop_assert_eq!(values, (0..pushed[usize::from(lane)]).collect::<Vec<u8>>());
        }
        prop_assert_eq!(bench.pool.held(), 0);
    }
}

proptest! {
    /// Whatever is pushed and sent in whatever order: published = sent + reported, order is kept, the bound holds.
    #[test]
    fn every_message_is_sent_or_reported_once_and_in_order(
        policy in prop::sample::select(vec![Policy::DropOldest, Policy::DropNewest, Policy::Conflate]),
        bytes_max in 40u32..400,
        steps in prop::collection::vec((0u32..3, 1usize..4, any::<bool>()), 1..80),
    ) {
        let mut bench = Bench::new();
        let service = service(2, policy, bytes_max);
        let mut published = [0u32; 3];
        let mut leaves = Vec::new();
        let last = steps.last().map_or(0, |step| step.0 as usize);
        for (topic, count, send) in steps {
            let mut run = Vec::new();
            for _ in 0..count {
                published[topic as usize] += 1;
                run.extend(frame(70_000 + topic, 2, &published[topic as usize].to_le_bytes()));
            }
            bench.push(&service, 70_000 + topic, &run);
            let largest = if policy == Policy::DropNewest { u64::from(bytes_max) + 60 } else { u64::from(bytes_max).max(20) };
            prop_assert!(bench.outbox.bytes() <= largest, "{} bytes in a queue of {bytes_max}", bench.outbox.bytes());
            if send {
                leaves.extend(bench.send_all());
            }
        }
        bench.now = Instant(u64::MAX / 2);
        leaves.extend(bench.send_all());
        let (mut got, mut reported, mut newest) = ([0u32; 3], [0u32; 3], [0u32; 3]);
        for frame in leaves {
            if let Some(lost) = lost(&frame) {
                reported[(lost.topic - 70_000) as usize] += lost.count;
                continue;
            }
            let topic = u32::from_le_bytes(frame[4..8].try_into().expect("four")) as usize - 70_000;
            let value = u32::from_le_bytes(frame[16..20].try_into().expect("four"));
            prop_assert!(value > newest[topic], "{value} after {}", newest[topic]);
            newest[topic] = value;
            got[topic] += 1;
            // Frames that were queued before others were refused leave after the report.
            let known = got[topic] + reported[topic];
            prop_assert!(known == value || policy == Policy::DropNewest && known > value, "{value} after {known} known");
        }
        for topic in 0..3 {
            prop_assert_eq!(got[topic] + reported[topic], published[topic]);
        }
        if policy != Policy::DropNewest {
            prop_assert_eq!(newest[last], published[last], "the newest one of all always arrives");
        }
        prop_assert_eq!(bench.pool.held(), 0);
    }
}

/// The frames of a message of lane 2: itself, or parts of it.
fn parts_of(number: u32, parts: u16) -> Vec<Vec<u8>> {
    use laneway_proto::frame::extensions::{Frag, Src};
    use laneway_proto::header::Flags;
    if parts == 1 {
        return vec![frame(70_000, 2, &number.to_le_bytes())];
    }
    let part = |index| {
        let flags = Flags::FRAG.with(Flags::SRC);
        let mut bytes = Header { topic: 70_000, lane: 2, flags, ..Header::new(Kind::PUB, 20) }.encode().to_vec();
        bytes.extend(Frag { index, count: parts, total_len: 4 * u32::from(parts) }.encode());
        bytes.extend(Src { origin: 1, seq: number }.encode());
        bytes.extend(number.to_le_bytes());
        bytes
    };
    (0..parts).map(part).collect()
}

proptest! {
    /// Wherever runs begin and end among whole messages and parts of large ones, each is sent whole or reported, once.
    #[test]
    fn messages_in_several_frames_are_sent_whole_or_reported_once(
        policy in prop::sample::select(vec![Policy::DropOldest, Policy::DropNewest, Policy::Conflate]),
        bytes_max in 40u32..400,
        parts in prop::collection::vec(prop::sample::select(vec![1u16, 1, 2, 3]), 1..60),
        runs in prop::collection::vec((1usize..5, any::<bool>()), 1..10),
    ) {
        let mut bench = Bench::new();
        let service = service(2, policy, bytes_max);
        let frames: Vec<Vec<u8>> = (1..).zip(&parts).flat_map(|(number, &parts)| parts_of(number, parts)).collect();
        let mut leaves = Vec::new();
        let mut rest = &frames[..];
        for (frames, send) in runs.into_iter().cycle() {
            let (run, left) = rest.split_at(frames.min(rest.len()));
            rest = left;
            bench.push(&service, 70_000, &run.concat());
            if send || rest.is_empty() {
                leaves.extend(bench.send_all());
            }
            if rest.is_empty() {
                break;
            }
        }
        bench.now = Instant(u64::MAX / 2);
        leaves.extend(bench.send_all());
        let reported: u32 = leaves.iter().filter_map(|frame| lost(frame)).map(|lost| lost.count).sum();
        let whole = (1..).zip(&parts).filter(|(number, parts)| {
            let sent = parts_of(*number, **parts).iter().filter(|part| leaves.contains(part)).count();
            sent == usize::from(**parts)
        });
        prop_assert_eq!(whole.count() + reported as usize, parts.len());
        prop_assert_eq!(bench.pool.held(), 0);
    }
}

#[test]
fn the_shortest_way_takes_what_the_long_one_takes_and_nothing_at_the_bound() {
    let (mut short, mut long) = (Bench::new(), Bench::new());
    let service = service(3, Policy::Block, 100);
    let bytes = frame(9, 3, &[7; 34]);
    let frames = Frames { topic: 9, head: &bytes, pieces: &[], whole: &bytes, share: false, count: 1, mark: None };
    let push = |bench: &mut Bench| {
        let place = bench.outbox.place_with_room(&service);
        place.inspect(|&place| bench.outbox.push_at(place, T0, &service, &frames, &mut bench.pool)).is_some()
    };
    assert!(!push(&mut short), "the queue is made by the long way");
    short.push(&service, 9, &bytes);
    assert!(push(&mut short), "one frame of 50 bytes waits");
    assert!(short.outbox.is_full(&service) && !push(&mut short), "100 bytes are the bound");
    long.push(&service, 9, &bytes);
    long.push(&service, 9, &bytes);
    assert_eq!(short.send(), long.send());
}

#[test]
fn without_a_link_what_the_broker_says_is_for_nobody_and_frames_wait() {
    let mut bench = Bench::new();
    let commands = service(1, Policy::Block, 10_000);
    bench.outbox.count_frames();
    bench.outbox.keep(LaneTable::STANDARD.reliable(), 10_000);
    bench.push(&commands, 70_000, &frame(70_000, 1, b"sent"));
    assert_eq!(bench.send_all().len(), 1);
    bench.outbox.on_link_lost(&mut bench.pool);
    bench.outbox.push_control(b"an answer", &mut bench.pool);
    bench.push(&commands, 70_000, &frame(70_000, 1, b"waits"));
    assert_eq!(bench.outbox.wire_bytes(), 0);
    assert_eq!(bench.outbox.on_resume(&[0; LANES_MAX], &mut bench.pool), Ok(1));
    assert_eq!(bench.send_all(), [frame(70_000, 1, b"sent"), frame(70_000, 1, b"waits")]);
}
