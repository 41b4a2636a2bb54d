//! A well-behaved pair beside an attack: numbered messages from one to the other, where a loss, a repetition, a change of
//! order or a disconnect is noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::link::Place;
use super::peer::Peer;

const TOPIC: &str = "witness/numbers";
const END: &[u8] = b"end";
/// Messages between two pauses.
const BURST: u64 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// A publisher and a subscriber at work.
#[derive(Debug)]
pub struct Witness {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<u64>,
    subscriber: JoinHandle<u64>,
}

impl Witness {
    /// Connections that the pair holds at the broker.
    pub const CONNECTIONS: u64 = 2;

    /// Starts them on two sessions; both are open when it returns.
    pub fn beside(place: &Place) -> Self {
        let mut reader = Peer::open(place);
        reader.subscribe(&[TOPIC]);
        let mut writer = Peer::open(place);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let publisher = std::thread::spawn(move || {
            let mut number = 0u64;
            while !stopped.load(Ordering::Relaxed) || number == 0 {
                for _ in 0..BURST {
                    writer.publish(TOPIC, &number.to_le_bytes());
                    number += 1;
                }
                writer.ping();
                std::thread::sleep(PAUSE);
            }
            writer.publish(TOPIC, END);
            writer.ping();
            number
        });
        let subscriber = std::thread::spawn(move || {
            let mut expected = 0u64;
            loop {
                let payload = reader.message().payload;
                if payload == END {
                    return expected;
                }
                assert_eq!(payload, expected.to_le_bytes(), "the witness saw something else than number {expected}");
                expected += 1;
            }
        });
        Self { stop, publisher, subscriber }
    }

    /// Ends them; returns how many messages passed.
    ///
    /// # Panics
    /// If anything was wrong.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.publisher.join().expect("the witness could publish all the time");
        let seen = self.subscriber.join().expect("the witness saw every message in order");
        assert_eq!(sent, seen, "messages sent and seen");
        seen
    }
}
