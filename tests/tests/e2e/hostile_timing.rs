//! Peers that are slow, silent, half gone or gone at the worst moment: each ends with a counted reason, and a well-behaved
//! pair beside them notices nothing.

use std::time::Duration;

use laneway_proto::error::CloseCode;
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_proto::session::handshake::PREFACE;
use laneway_tests::real::Launch;
use laneway_tests::real::frames::{declare, hello, opening, publish, subscribe};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::witness::Witness;

const IMPATIENT: &str = "[limits]\nhandshake_ms_max = 300\npartial_frame_ms_max = 300";

/// Sends a byte a second until the peer no longer takes them, or `bytes` are used up.
fn dribble(peer: &mut Peer, bytes: &[u8]) {
    for &byte in bytes {
        if peer.try_send(&[byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn is_timeout(words: &[Event]) -> bool {
    matches!(words, [.., Event::Goodbye(goodbye), Event::Closed]
        if CloseCode::from_number(goodbye.code) == Some(CloseCode::Timeout))
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let broker = Launch::new(2).config(IMPATIENT).start();
    let witness = Witness::beside(broker.tcp());
    let whole = opening(hello());
    let mut idle = Peer::open(broker.unix());
    for place in [broker.tcp(), broker.unix()] {
        for sent in [0, 1, PREFACE.len() - 1] {
            let mut peer = Peer::dial(place).expect("the broker listens");
            peer.send(&whole[..sent]);
            assert!(matches!(peer.last_words()[..], [Event::Closed | Event::Reset]), "{sent} bytes of a preface");
        }
        for sent in [PREFACE.len(), PREFACE.len() + 1, PREFACE.len() + 16, whole.len() - 1] {
            let mut peer = Peer::dial(place).expect("the broker listens");
            peer.send(&whole[..sent]);
            let words = peer.last_words();
            assert_eq!(words.first(), Some(&Event::Preface), "{sent} bytes of the opening");
            assert!(is_timeout(&words), "{sent} bytes of the opening: {words:?}");
        }
    }
    // The patience is for handshakes; a session that says nothing is left alone.
    idle.ping();
    drop(idle);
    assert!(witness.finish() > 0);
    let ended = broker.stop_idle();
    assert_eq!(ended.closed("timeout"), 14, "{}", ended.stderr);
    assert_eq!(ended.closed_in_all(), 14 + 1 + Witness::CONNECTIONS, "{}", ended.stderr);
}

#[test]
fn a_peer_that_sends_one_byte_a_second_is_ended_in_the_handshake_and_in_a_frame() {
    let broker = Launch::new(2).config(IMPATIENT).start();
    let witness = Witness::beside(broker.unix());
    let mut newcomer = Peer::dial(broker.tcp()).expect("the broker listens");
    dribble(&mut newcomer, &opening(hello())[..4]);
    let words = newcomer.last_words();
    assert!(matches!(words[..], [Event::Closed | Event::Reset]), "{words:?}");
    let mut member = Peer::open(broker.tcp());
    let id = member.topic("slow");
    dribble(&mut member, &publish(id, 1, 1, b"never whole")[..4]);
    let words = member.last_words();
    assert!(is_timeout(&words) || words == [Event::Reset], "{words:?}");
    assert!(witness.finish() > 0);
    let ended = broker.stop_idle();
    assert_eq!(ended.closed("timeout"), 2, "{}", ended.stderr);
}

#[test]
fn a_frame_that_stays_incomplete_is_ended_but_a_busy_stream_never_cut_at_a_frame_is_not() {
    let broker = Launch::new(1).config(IMPATIENT).start();
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["busy"]);
    let mut busy = Peer::open(broker.tcp());
    let id = busy.topic("busy");
    // Every write ends in the middle of a frame, for several times as long as a frame may stay incomplete.
    let frames: Vec<u8> = (1..=60).flat_map(|seq| publish(id, 1, seq, &seq.to_le_bytes())).collect();
    for piece in frames.chunks(21) {
        busy.send(piece);
        std::thread::sleep(Duration::from_millis(20));
    }
    for seq in 1..=60u32 {
        subscriber.expect_message("busy", &seq.to_le_bytes());
    }
    busy.send(&frames[..17]);
    assert!(is_timeout(&busy.last_words()));
}

/// All that a publisher sends in a short life.
fn life() -> Vec<u8> {
    let id = TOPIC_ID_DYNAMIC_FIRST;
    let declared = declare(1, id, "reset/topic").to_frame();
    [opening(hello()), declared, subscribe(2, &["reset/#"]).to_frame(), publish(id, 1, 1, &[7; 60])].concat()
}

#[test]
fn a_reset_at_any_byte_of_handshake_and_frames_harms_nobody() {
    let broker = Launch::new(2).start();
    let witness = Witness::beside(broker.unix());
    let life = life();
    let mut connections = 0;
    for place in [broker.tcp(), broker.unix()] {
        for sent in 0..=life.len() {
            let mut peer = Peer::dial(place).expect("the broker listens");
            peer.send(&life[..sent]);
            peer.reset();
            connections += 1;
        }
    }
    assert!(witness.finish() > 0);
    let ended = broker.stop_idle();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.counted("accepted"), connections + Witness::CONNECTIONS, "{}", ended.stderr);
    let left = ended.closed("peer_left") + ended.closed("connection_failed");
    assert_eq!((left, ended.closed_in_all()), (ended.counted("accepted"), left), "{}", ended.stderr);
}

#[test]
fn a_publisher_that_half_closes_has_everything_delivered_and_answered_before_it_is_closed() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        for place in [broker.tcp(), broker.unix()] {
            check_half_close(place);
        }
    }
}

fn check_half_close(place: &Place) {
    const MESSAGES: u32 = 5_000;
    let mut subscriber = Peer::open(place);
    subscriber.subscribe(&["last/will"]);
    let mut publisher = Peer::open(place);
    for number in 0..MESSAGES {
        publisher.publish("last/will", &number.to_le_bytes());
    }
    publisher.send(&laneway_proto::frame::ping::Ping { t0: 99 }.encode());
    publisher.finish_sending();
    let words = publisher.last_words();
    assert!(matches!(&words[..], [Event::Pong(pong), Event::Closed] if pong.t0 == 99), "{words:?}");
    for number in 0..MESSAGES {
        subscriber.expect_message("last/will", &number.to_le_bytes());
    }
}
