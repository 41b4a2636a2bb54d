//! Who may come in: version, network, metadata, and the list of known peers.

use std::os::unix::fs::MetadataExt as _;

use laneway_proto::control::{Hello, Reject};
use laneway_proto::error::CloseCode;
use laneway_tests::real::frames::{hello, opening};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::{Launch, laneway, run};

/// Whether the broker lets a HELLO in; if not, the code it says.
fn judged(place: &Place, hello: Hello) -> Result<(), CloseCode> {
    match Peer::knock(place, hello) {
        Ok(mut peer) => {
            peer.ping();
            Ok(())
        }
        Err(reject) => Err(CloseCode::from_number(reject.code).expect("a known code")),
    }
}

fn node(id: &str) -> Vec<u8> {
    (0..16).map(|place| u8::from_str_radix(&id[2 * place..2 * place + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn versions_without_one_in_common_are_refused_with_ours_named() {
    let broker = Launch::new(1).start();
    for (min, max, verdict) in [
        (1, 1, Ok(())),
        (1, 15, Ok(())),
        (0, u32::MAX, Ok(())),
        (15, 15, Err(CloseCode::Version)),
        (2, 15, Err(CloseCode::Version)),
        (0, 0, Err(CloseCode::Version)),
        (9, 1, Err(CloseCode::Version)),
    ] {
        let offer = Hello { version_min: min, version_max: max, ..hello() };
        assert_eq!(judged(broker.tcp(), offer), verdict, "versions {min} to {max}");
    }
    let refused = Peer::knock(broker.tcp(), Hello { version_min: 15, version_max: 15, ..hello() });
    let Reject { version_min, version_max, reason, .. } = refused.map(|peer| peer.session()).expect_err("refused");
    assert_eq!((version_min, version_max), (1, 1), "{reason}");
}

#[test]
fn a_newer_preface_and_features_nobody_knows_are_welcome() {
    let broker = Launch::new(1).start();
    assert_eq!(judged(broker.tcp(), Hello { features: u64::MAX, ..hello() }), Ok(()));
    assert_eq!(judged(broker.tcp(), Hello { features: 0, ..hello() }), Err(CloseCode::Version), "no batches");
    let mut bytes = opening(Hello { version_max: 15, ..hello() });
    bytes[4] = 15;
    let mut newer = Peer::dial(broker.tcp()).expect("the broker listens");
    newer.send(&bytes);
    assert_eq!(newer.event(), Event::Preface);
    assert!(matches!(newer.event(), Event::Welcome(_)));
}

#[test]
fn a_network_is_entered_by_its_name_or_without_one() {
    let named = Launch::new(1).top("network_id = \"lab\"").start();
    let open = Launch::new(1).start();
    let asking = |network: &str| Hello { network_id: network.into(), ..hello() };
    for place in [named.tcp(), named.unix()] {
        assert_eq!(judged(place, asking("lab")), Ok(()));
        assert_eq!(judged(place, asking("")), Ok(()));
        assert_eq!(judged(place, asking("Lab")), Err(CloseCode::Network));
        assert_eq!(judged(place, asking("home")), Err(CloseCode::Network));
    }
    assert_eq!(judged(open.tcp(), asking("")), Ok(()));
    assert_eq!(judged(open.tcp(), asking("lab")), Err(CloseCode::Network), "who asks for a network gets that or none");
    let ended = named.stop_idle();
    assert_eq!((ended.closed("network"), ended.closed("peer_left")), (4, 4), "{}", ended.stderr);
}

#[test]
fn an_identity_has_16_bytes_and_metadata_at_most_4096() {
    let broker = Launch::new(1).start();
    let with = |bytes: usize| {
        let metadata = [("robot".to_owned(), "x".repeat(bytes - 5 - 6)), ("k".to_owned(), "12345".to_owned())];
        Hello { metadata: metadata.into(), ..hello() }
    };
    assert_eq!(judged(broker.tcp(), with(4_096)), Ok(()));
    assert_eq!(judged(broker.tcp(), with(4_097)), Err(CloseCode::Limit));
    assert_eq!(judged(broker.tcp(), with(60_000)), Err(CloseCode::Limit));
    for bytes in [0, 15, 17, 1_000] {
        let offer = Hello { node_id: vec![7; bytes], ..hello() };
        assert_eq!(judged(broker.tcp(), offer), Err(CloseCode::Malformed), "a node id of {bytes} bytes");
    }
    let ended = broker.stop_idle();
    assert_eq!((ended.closed("limit"), ended.closed("malformed")), (2, 4), "{}", ended.stderr);
}

#[test]
fn only_known_node_ids_come_in_where_a_list_says_so() {
    let known = "00112233445566778899aabbccddeeff";
    let config = format!("[peers]\nknown_only = true\nallow = [\"node:{known}\"]");
    let broker = Launch::new(2).config(&config).start();
    for place in [broker.tcp(), broker.unix()] {
        assert_eq!(judged(place, Hello { node_id: node(known), ..hello() }), Ok(()));
        assert_eq!(judged(place, hello()), Err(CloseCode::Denied));
    }
    let ended = broker.stop_idle();
    assert_eq!((ended.closed("denied"), ended.closed("peer_left")), (2, 2), "{}", ended.stderr);
}

#[test]
fn only_known_users_and_addresses_come_in_where_a_list_says_so() {
    let uid = std::fs::metadata("/proc/self").expect("proc is mounted").uid();
    let stranger = uid + 1;
    for (rules, tcp, unix) in [
        (format!("\"uid:{uid}\""), Err(CloseCode::Denied), Ok(())),
        (format!("\"uid:{stranger}\""), Err(CloseCode::Denied), Err(CloseCode::Denied)),
        ("\"cidr:127.0.0.0/8\"".into(), Ok(()), Err(CloseCode::Denied)),
        ("\"cidr:10.0.0.0/8\"".into(), Err(CloseCode::Denied), Err(CloseCode::Denied)),
        (format!("\"cidr:127.0.0.1/32\", \"uid:{uid}\""), Ok(()), Ok(())),
    ] {
        let broker = Launch::new(1).config(&format!("[peers]\nknown_only = true\nallow = [{rules}]")).start();
        assert_eq!(judged(broker.tcp(), hello()), tcp, "tcp with {rules}");
        assert_eq!(judged(broker.unix(), hello()), unix, "unix with {rules}");
    }
}

#[test]
fn the_command_line_says_why_it_was_not_let_in() {
    let broker = Launch::new(1).config("[peers]\nknown_only = true\nallow = [\"cidr:10.0.0.0/8\"]").start();
    let ended = run("laneway pub", laneway(&broker.tcp().url(), &["pub", "a", "b"]));
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("peers.allow"), "it names the setting: {}", ended.stderr);
}
