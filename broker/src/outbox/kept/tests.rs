use crate::counters::Drops;
use crate::io::SEND_PIECES_MAX;
use crate::outbox::frames::walk;
use crate::outbox::tests::SHAPE;
use crate::outbox::{Frames, Outbox, Service};
use crate::pool::{BufId, Home, Piece, Pool};
use laneway_proto::error::PeerFault;
use laneway_proto::header::{Header, Kind};
use laneway_proto::lane::policy::Policy;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::time::Instant;
use proptest::prelude::*;

const TOPIC: u32 = 70_000;

fn frame(lane: u8, number: u32, payload_bytes: usize) -> Vec<u8> {
    let header = Header { topic: TOPIC, lane, seq: number, ..Header::new(Kind::PUB, payload_bytes) };
    [&header.encode()[..], &vec![lane; payload_bytes]].concat()
}

/// An outbox, its peer, and the link between them.
struct Bench {
    outbox: Outbox,
    pool: Pool,
    drops: Drops,
    /// Bytes that the present link has carried and that are no whole frame yet.
    carried: Vec<u8>,
    /// What the peer received of each lane, over all links.
    received: [Vec<u32>; LANES_MAX],
    pushed: [u32; LANES_MAX],
}

impl Bench {
    fn new(kept_bytes_max: u32) -> Self {
        let mut outbox = Outbox::default();
        outbox.keep(LaneTable::STANDARD.reliable(), kept_bytes_max);
        Self {
            outbox,
            pool: Pool::new(SHAPE),
            drops: Drops::default(),
            carried: Vec::new(),
            received: std::array::from_fn(|_| Vec::new()),
            pushed: [0; LANES_MAX],
        }
    }

    /// Publishes `count` frames of a lane as one run: copied, or by reference to a receive buffer while there is one.
    fn push(&mut self, lane: u8, payload_bytes: usize, count: u32, share: bool) {
        let number = &mut self.pushed[usize::from(lane)];
        let bytes: Vec<u8> = (0..count).flat_map(|at| frame(lane, *number + at + 1, payload_bytes)).collect();
        *number += count;
        let service = Service { lane, policy: Policy::Block, bytes_max: 1_000_000, ttl_ms: 0, rate_hz: 0 };
        let (outbox, pool) = (&mut self.outbox, &mut self.pool);
        let lent = if share && bytes.len() <= 4_096 { pool.lend() } else { None };
        let held = lent.map(|(buf, mut memory)| {
            memory[..bytes.len()].copy_from_slice(&bytes);
            pool.restore(buf, memory);
            Piece { buf, start: 0, len: bytes.len() as u32 }
        });
        let pieces = held.as_slice();
        let head = if held.is_some() { &[][..] } else { &bytes };
        let frames = Frames { topic: TOPIC, head, pieces, whole: &bytes, share, count, mark: None };
        assert!(!outbox.push(Instant(0), &service, &frames, &LaneTable::STANDARD, pool, &mut self.drops));
        held.into_iter().for_each(|piece| pool.release(piece.buf));
    }

    /// One send, of which the link takes so many thousandths. Returns whether there was anything to send.
    fn send(&mut self, permille: usize) -> bool {
        let mut pieces = [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX];
        let count = self.outbox.start_send(Instant(0), &mut pieces, &mut self.pool, &mut self.drops);
        let bytes: Vec<u8> = pieces[..count].iter().flat_map(|&piece| self.pool.piece(piece).to_vec()).collect();
        if count == 0 {
            return false;
        }
        let taken = (bytes.len() * permille).div_ceil(1_000);
        self.outbox.on_sent(taken as u32, &mut self.pool);
        self.carried.extend_from_slice(&bytes[..taken]);
        while let Some(&[l0, l1]) = self.carried.get(..2)
            && let len = usize::from(u16::from_le_bytes([l0, l1]))
            && len <= self.carried.len()
        {
            let whole: Vec<u8> = self.carried.drain(..len).collect();
            walk(&whole, |frame, shape| {
                let header = Header::decode(frame.first_chunk().expect("a header")).expect("valid");
                assert_eq!(frame, self::frame(header.lane, header.seq, shape.len as usize - 16));
                self.received[usize::from(header.lane)].push(header.seq);
            });
        }
        true
    }

    fn count(&mut self) {
        for lane in 1..LANES_MAX {
            let total = self.received[lane].len() as u64;
            self.outbox.on_count(lane as u8, total, &mut self.pool).expect("what was received was sent");
        }
    }

    fn break_link(&mut self) {
        self.outbox.on_link_lost(&mut self.pool);
        self.carried.clear();
    }

    fn totals(&self) -> [u64; LANES_MAX] {
        std::array::from_fn(|lane| self.received[lane].len() as u64)
    }

    fn resume(&mut self) -> u64 {
        let totals = self.totals();
        self.outbox.on_resume(&totals, &mut self.pool).expect("the counts are right")
    }

    /// Everything pushed on a reliable lane arrived once and in order, and nothing is kept or held any more.
    fn finish(&mut self) {
        self.count();
        while self.send(1_000) {
            self.count();
        }
        for lane in [1, 2, 5] {
            let expected: Vec<u32> = (1..=self.pushed[lane]).collect();
            assert_eq!(self.received[lane], expected, "lane {lane}");
        }
        assert_eq!((self.outbox.kept_bytes(), self.outbox.is_empty(), self.pool.held()), (0, true, 0));
    }
}

#[derive(Clone, Debug)]
enum Event {
    Push {
        lane: u8,
        payload_bytes: usize,
        count: u32,
        share: bool,
    },
    Send(usize),
    Count,
    /// The link breaks and another one goes on; meanwhile this many runs come, and everything may be copied out.
    Break {
        pushed: u32,
        copied_out: bool,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1u8..6, 0usize..150, 1u32..5, any::<bool>())
            .prop_map(|(lane, payload_bytes, count, share)| Event::Push { lane, payload_bytes, count, share }),
        3 => prop_oneof![Just(1_000), 0usize..1_000].prop_map(Event::Send),
        1 => Just(Event::Count),
        1 => (0u32..3, any::<bool>()).prop_map(|(pushed, copied_out)| Event::Break { pushed, copied_out }),
    ];
    prop::collection::vec(event, 1..80)
}

proptest! {
    #[test]
    fn over_any_number_of_links_each_frame_arrives_once_and_in_order(events in events(), bound in 200u32..20_000) {
        let mut bench = Bench::new(bound);
        for event in events {
            match event {
                Event::Push { lane, payload_bytes, count, share } => bench.push(lane, payload_bytes, count, share),
                Event::Send(permille) => {
                    bench.send(permille);
                    // One run over the bound, and as much again for its parts: buffers are very small here.
                    let most = 2 * u64::from(bound) + 2 * 4 * (150 + 16);
                    prop_assert!(bench.outbox.kept_bytes() <= most, "{} of {bound}", bench.outbox.kept_bytes());
                }
                Event::Count => bench.count(),
                Event::Break { pushed, copied_out } => {
                    bench.break_link();
                    if copied_out {
                        bench.outbox.copy_out(&mut bench.pool);
                        let lent_or_free = bench.pool.lendable();
                        prop_assert_eq!(lent_or_free, u32::from(SHAPE.ingress_buffers), "no receive buffer is held");
                    }
                    (0..pushed).for_each(|_| bench.push(1, 20, 2, false));
                    bench.resume();
                }
            }
        }
        bench.finish();
    }
}

#[test]
fn a_frame_that_was_cut_goes_again_and_one_that_was_counted_does_not() {
    let mut bench = Bench::new(10_000);
    bench.push(1, 100, 3, false);
    assert!(bench.send(500), "one frame and a half");
    assert_eq!(bench.received[1], [1]);
    bench.break_link();
    assert_eq!((bench.outbox.is_empty(), bench.resume()), (false, 2));
    bench.finish();
}

#[test]
fn a_second_lane_does_not_make_the_first_ones_frames_be_forgotten() {
    let mut bench = Bench::new(10_000);
    bench.push(1, 20, 2, false);
    bench.send(0);
    bench.break_link();
    bench.resume();
    bench.push(2, 0, 1, false);
    bench.finish();
}

#[test]
fn at_the_bound_reliable_lanes_wait_for_a_count_and_others_go_on() {
    let mut bench = Bench::new(300);
    for _ in 0..5 {
        bench.push(1, 84, 1, false);
        bench.push(4, 84, 1, false);
    }
    while bench.send(1_000) {}
    assert_eq!((bench.received[1].len(), bench.received[4].len()), (3, 5), "300 bytes and their parts");
    assert!(bench.outbox.is_uncounted());
    assert_eq!(bench.outbox.on_count(1, 1, &mut bench.pool), Ok(false), "two frames in parts are as much");
    assert!(!bench.send(1_000));
    assert_eq!(bench.outbox.on_count(1, 2, &mut bench.pool), Ok(true));
    while bench.send(1_000) {}
    assert!(bench.received[1].len() > 3);
    bench.finish();
}

#[test]
fn counts_that_contradict_what_was_sent_are_the_peers_fault() {
    let mut bench = Bench::new(10_000);
    bench.push(1, 10, 2, false);
    while bench.send(1_000) {}
    assert_eq!(bench.outbox.on_count(1, 3, &mut bench.pool), Err(PeerFault::CountAhead));
    assert_eq!(bench.outbox.on_count(3, 9, &mut bench.pool), Ok(false), "lanes that lose are not counted");
    assert_eq!(bench.outbox.on_count(1, 2, &mut bench.pool), Ok(false), "nothing waited for it");
    let mut totals = [0; LANES_MAX];
    (totals[1], totals[3]) = (2, 7);
    assert_eq!(bench.outbox.may_resume(&totals), Ok(()));
    totals[1] = 1;
    assert_eq!(bench.outbox.may_resume(&totals), Err(PeerFault::CountAhead), "it had counted two");
    (totals[1], totals[2]) = (2, 1);
    assert_eq!(bench.outbox.may_resume(&totals), Err(PeerFault::CountAhead), "nothing was ever sent there");
}

#[test]
fn what_waits_for_a_peer_without_a_link_holds_no_buffer_of_others() {
    let mut bench = Bench::new(100_000);
    bench.push(1, 1_000, 3, true);
    bench.push(5, 1_000, 3, true);
    assert!(bench.send(200));
    bench.push(2, 1_000, 3, true);
    bench.break_link();
    assert_eq!(bench.pool.home(BufId(0)), Home::Ingress);
    assert!(bench.pool.lendable() < u32::from(SHAPE.ingress_buffers));
    bench.outbox.copy_out(&mut bench.pool);
    assert_eq!(bench.pool.lendable(), u32::from(SHAPE.ingress_buffers));
    bench.resume();
    bench.finish();
}
