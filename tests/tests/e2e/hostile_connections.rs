//! More connections than there are descriptors: each gets an answer or a close with a counted reason, nobody waits for
//! ever, and a well-behaved pair beside them notices nothing.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use laneway_proto::control::Reject;
use laneway_proto::error::CloseCode;
use laneway_tests::real::binaries::with_descriptors;
use laneway_tests::real::frames::{hello, opening};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::witness::Witness;
use laneway_tests::real::{Launch, RealBroker};

/// Descriptors the broker may have.
const DESCRIPTORS: u64 = 256;
/// What the broker keeps for itself.
const DESCRIPTORS_OWN: u64 = 64;

/// What came of connecting.
#[derive(Default, Debug)]
struct Tally {
    attempts: u64,
    welcomed: u64,
    rejected: u64,
    closed: u64,
}

impl Tally {
    /// Opens `count` connections at once, asks on each, and closes them all; those refused are closed at once.
    fn batch(&mut self, place: &Place, count: usize) {
        let dialled: Vec<Peer> = (0..count).map(|_| Peer::dial(place).expect("the backlog takes it")).collect();
        self.attempts += count as u64;
        let mut welcome = Vec::new();
        for mut peer in dialled {
            // One that is refused at once may be closed before it has asked.
            let _ = peer.try_send(&opening(hello()));
            match answer(&mut peer) {
                Some(Ok(())) => welcome.push(peer),
                Some(Err(reject)) => {
                    assert_eq!(CloseCode::from_number(reject.code), Some(CloseCode::Limit), "{}", reject.reason);
                    assert!(reject.retry_after_ms > 0, "a full broker says when to come back");
                    self.rejected += 1;
                }
                None => self.closed += 1,
            }
        }
        self.welcomed += welcome.len() as u64;
    }
}

/// WELCOME, REJECT, or a close without a word.
fn answer(peer: &mut Peer) -> Option<Result<(), Reject>> {
    loop {
        match peer.event() {
            Event::Preface => {}
            Event::Welcome(_) => return Some(Ok(())),
            Event::Reject(reject) => return Some(Err(reject)),
            Event::Closed | Event::Reset => return None,
            other => panic!("neither an answer nor a close: {other:?}"),
        }
    }
}

fn starved_broker(shards: u32) -> RealBroker {
    Launch::new(shards).under(&with_descriptors(DESCRIPTORS)).start()
}

#[test]
fn twenty_thousand_connections_against_256_descriptors_are_all_answered() {
    let broker = starved_broker(2);
    let witness = Witness::beside(broker.unix());
    let mut tally = Tally::default();
    // Most batches fit; every tenth wants more descriptors than the broker has.
    for round in 0..100 {
        let place = if round % 2 == 0 { broker.tcp() } else { broker.unix() };
        tally.batch(place, if round % 10 == 9 { 290 } else { 190 });
    }
    assert_eq!(tally.attempts, 20_000);
    assert!(tally.rejected > 0, "the large batches were over the bound: {tally:?}");
    assert!(witness.finish() > 0);
    let ended = broker.stop_idle();
    assert_eq!(ended.counted("accepted"), tally.attempts + Witness::CONNECTIONS, "{}", ended.stderr);
    assert_eq!(ended.counted("welcomed"), tally.welcomed + Witness::CONNECTIONS, "{}", ended.stderr);
    assert_eq!(ended.closed("limit"), tally.rejected, "{}", ended.stderr);
    let accounted = ended.closed_in_all() + ended.counted("refused_at_once");
    assert_eq!(accounted, ended.counted("accepted"), "no end without a reason: {}", ended.stderr);
    let bound = format!("connections_max={}", DESCRIPTORS - DESCRIPTORS_OWN);
    assert!(ended.stderr.contains(&bound), "the broker says what the limit means: {}", ended.stderr);
}

#[test]
fn connections_that_wait_for_a_descriptor_are_served_when_one_is_free() {
    let broker = starved_broker(1);
    // Far more than descriptors; nobody closes until the broker has none left for the last of them.
    let silent: Vec<Peer> = (0..DESCRIPTORS + 50).map(|_| Peer::dial(broker.tcp()).expect("the backlog")).collect();
    let mut last = Peer::dial(broker.tcp()).expect("the backlog");
    last.send(&opening(hello()));
    drop(silent);
    let answered = answer(&mut last);
    assert!(matches!(answered, Some(Ok(()) | Err(_))), "{answered:?}");
    // Whatever it was told, there is room now.
    Peer::open(broker.tcp()).ping();
    drop(last);
    let ended = broker.stop_idle();
    assert_eq!(ended.counted("accepted"), DESCRIPTORS + 50 + 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("accepting pauses"), "descriptors did run out: {}", ended.stderr);
}
