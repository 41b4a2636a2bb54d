//! What the broker does not understand it passes on unchanged.

use std::io::Read as _;
use std::time::{Duration, Instant};

use laneway_proto::header::{Flags, Header, Kind};
use laneway_tests::real::Launch;
use laneway_tests::real::frames::raw;
use laneway_tests::real::peer::Peer;
use laneway_tests::real::process::GUARD;

/// XHDR: 16 bytes in all, the hash of a schema (type 3, 8 bytes), and a type that nobody knows (200, 2 bytes).
const XHDR: [u8; 16] = [16, 0, 3, 8, 0xDE, 0xAD, 0xBE, 0xEF, 1, 2, 3, 4, 200, 2, 9, 9];

#[test]
fn a_schema_and_extensions_that_the_broker_does_not_know_arrive_as_they_were_published() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let mut subscriber = Peer::open(broker.tcp());
        subscriber.subscribe(&["mesh/#"]);
        let mut publisher = Peer::open(broker.unix());
        let topic = publisher.topic("mesh/part");
        let body = [&XHDR[..], b"a payload of a type of its own"].concat();
        let flags = Flags::default().with(Flags::XHDR);
        let header = Header { topic, lane: 1, seq: 1, flags, ..Header::new(Kind::PUB, body.len()) };
        publisher.send(&raw(header, &body));
        let mut link = subscriber.link().share().expect("a descriptor");
        link.patience(Duration::from_millis(100)).expect("a socket takes a time limit");
        let (mut received, until) = (Vec::new(), Instant::now() + GUARD);
        while !received.windows(body.len()).any(|window| window == body) {
            assert!(Instant::now() < until, "{shards} shards: it does not arrive unchanged in {received:02x?}");
            let mut part = [0; 4_096];
            let count = link.read(&mut part).unwrap_or(0);
            received.extend_from_slice(&part[..count]);
        }
    }
}
