//! `soak --minutes N`: a real broker under full load for that long; its memory must stay flat and no message may be lost.
//!
//! Publishers send as fast as they are let, subscribers check every message, and visitors come and go. A day is
//! `soak --minutes 1440`. Exit code 0: flat and complete; 1: not; 2: usage.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use laneway_client::blocking::{self, Client, Subscription};
use laneway_tests::real::{Launch, RealBroker};

/// Publishers, each with topics and a size of its own.
const PUBLISHERS: [(&str, usize); 3] = [("soak/small", 64), ("soak/medium", 1_024), ("soak/large", 40_000)];
/// Messages handed over at once.
const BATCH: usize = 64;
/// How often memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(30);
/// The first part of the time, in which the broker grows into its load: one part in this many.
const WARM_UP_PART: usize = 4;
/// Bytes that the fitted line may grow over the time that counts.
const GROWTH_BYTES_MAX: f64 = 2.0 * 1024.0 * 1024.0;

/// What everybody shares.
#[derive(Default)]
struct Board {
    stop: AtomicBool,
    received: AtomicU64,
    visits: AtomicU64,
}

impl Board {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let minutes: Option<f64> = match words.as_slice() {
        [flag, minutes] if flag == "--minutes" => minutes.parse().ok().filter(|&minutes| minutes > 0.0),
        _ => None,
    };
    let Some(minutes) = minutes else {
        eprintln!("usage: soak --minutes N");
        return ExitCode::from(2);
    };
    let broker = Launch::new(2).log("warn").start();
    let urls = [broker.tcp().url(), broker.unix().url()];
    let board = Board::default();
    let (samples, complete) = std::thread::scope(|scope| {
        let (urls, board) = (&urls, &board);
        let readers = (0..PUBLISHERS.len() * 2).map(|number| {
            let (topic, len) = PUBLISHERS[number % PUBLISHERS.len()];
            let subscription = subscribe(&urls[number % 2], &format!("{topic}/#"));
            scope.spawn(move || read(subscription, len, board))
        });
        let readers: Vec<_> = readers.collect();
        let writers: Vec<_> = (0..PUBLISHERS.len())
            .map(|number| {
                let (topic, len) = PUBLISHERS[number];
                scope.spawn(move || write(&urls[(number + 1) % 2], topic, len, board))
            })
            .collect();
        scope.spawn(move || visit(&urls[0], board));
        let samples = watch(&broker, board, Duration::from_secs_f64(minutes * 60.0));
        let sent: u64 =
            writers.into_iter().map(|writer| writer.join().expect("a publisher keeps its connection")).sum();
        let got: u64 = readers.into_iter().map(|reader| reader.join().expect("a reader gets every message")).sum();
        println!("{sent} messages published, {got} received by two readers each");
        (samples, got == 2 * sent)
    });
    let flat = judge(&samples);
    let ended = broker.stop();
    println!("the broker ended with {:?}; {} visits", ended.code(), board.visits.load(Ordering::Relaxed));
    let passed = flat && complete && ended.code() == Some(0);
    println!(
        "test result: {}. {} passed; {} failed",
        if passed { "ok" } else { "FAILED" },
        u8::from(passed),
        u8::from(!passed)
    );
    if passed { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn subscribe(url: &str, filter: &str) -> (Client, Subscription) {
    let client = blocking::connect(url).expect("the broker listens");
    let subscription = client.subscribe(filter).expect("the filter is valid");
    (client, subscription)
}

/// Publishes until told to stop; the last message says how many there were.
fn write(url: &str, topic: &str, len: usize, board: &Board) -> u64 {
    let client = blocking::connect(url).expect("the broker listens");
    let topic = format!("{topic}/x");
    let mut count = 0_u64;
    while board.goes_on() {
        let batch: Vec<Vec<u8>> = (count..count + BATCH as u64).map(|number| message(number, len)).collect();
        client.publish_batch(&topic, &batch).expect("the broker takes messages");
        count += BATCH as u64;
    }
    client.publish(&topic, count.to_le_bytes().to_vec()).expect("the broker takes the last message");
    client.flush().expect("the broker has taken everything");
    client.close().expect("a clean end");
    count
}

fn message(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; len];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Checks that messages come complete and in order, up to the last one.
fn read((client, mut subscription): (Client, Subscription), len: usize, board: &Board) -> u64 {
    let mut expected = 0;
    loop {
        let message = subscription.recv().expect("the connection lasts");
        if message.payload.len() == 8 {
            let count = u64::from_le_bytes(message.payload[..8].try_into().expect("eight bytes"));
            assert_eq!(expected, count, "the last message of {} came early", message.topic);
            client.close().expect("a clean end");
            return expected;
        }
        assert!(message.payload[..] == self::message(expected, len), "{}: not message {expected}", message.topic);
        expected += 1;
        if expected.is_multiple_of(1_000) {
            board.received.fetch_add(1_000, Ordering::Relaxed);
        }
    }
}

/// Comes, says something, hears it, and leaves, over and over.
fn visit(url: &str, board: &Board) {
    while board.goes_on() {
        let number = board.visits.fetch_add(1, Ordering::Relaxed);
        let (client, mut subscription) = subscribe(url, "visitors/+");
        client.publish(&format!("visitors/{}", number % 1_000), b"hello".to_vec()).expect("the broker takes messages");
        assert_eq!(subscription.recv().expect("the connection lasts").payload[..], b"hello"[..]);
        if number.is_multiple_of(2) {
            client.close().expect("a clean end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Looks at the broker's memory until the time is over.
fn watch(broker: &RealBroker, board: &Board, span: Duration) -> Vec<(f64, f64)> {
    let began = Instant::now();
    let (mut samples, mut shown) = (Vec::new(), Duration::ZERO);
    while began.elapsed() < span {
        std::thread::sleep(SAMPLE_EVERY.min(span / 20));
        let resident = broker.resident_bytes();
        samples.push((began.elapsed().as_secs_f64(), resident as f64));
        if began.elapsed() >= shown + SHOW_EVERY {
            shown = began.elapsed();
            let received = board.received.load(Ordering::Relaxed);
            println!("{} s: {received} messages, {} KiB resident", shown.as_secs(), resident / 1024);
        }
    }
    board.stop.store(true, Ordering::Relaxed);
    samples
}

/// Whether the line fitted through the samples after the warm-up grows no more than it may.
fn judge(samples: &[(f64, f64)]) -> bool {
    let counted = &samples[samples.len() / WARM_UP_PART..];
    let slope = slope(counted);
    let span = counted.last().map_or(0.0, |last| last.0) - counted.first().map_or(0.0, |first| first.0);
    let growth = slope * span;
    let mean = counted.iter().map(|sample| sample.1).sum::<f64>() / counted.len().max(1) as f64;
    println!("memory: {:.0} KiB on average, {:.0} KiB growth in {span:.0} s", mean / 1024.0, growth / 1024.0);
    growth <= GROWTH_BYTES_MAX
}

/// Least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let (x_sum, y_sum) = samples.iter().fold((0.0, 0.0), |sum, sample| (sum.0 + sample.0, sum.1 + sample.1));
    let (x_mean, y_mean) = (x_sum / count, y_sum / count);
    let rise: f64 = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let run: f64 = samples.iter().map(|(x, _)| (x - x_mean) * (x - x_mean)).sum();
    if run > 0.0 { rise / run } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(per_second: f64) -> Vec<(f64, f64)> {
        (0..360).map(|place| f64::from(place) * 5.0).map(|at| (at, 2e7 + at * per_second)).collect()
    }

    #[test]
    fn flat_memory_passes_and_a_slow_leak_does_not() {
        assert!((slope(&line(7.0)) - 7.0).abs() < 1e-6);
        assert!(judge(&line(0.0)) && judge(&line(-100.0)));
        assert!(!judge(&line(2_000.0)), "2 kB a second");
    }
}
