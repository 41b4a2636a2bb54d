//! `udp-filter`: broadcasts at hosts around a switch: what a host does not want ends in its kernel, and what it wants arrives.
//! And ten million pairs of topic and filter: no filter rejects what it matches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use laneway_client::{ConnectOptions, Lane};
use laneway_proto::datagram::interest::{ANYTHING, Interest, group_tag, topic_tag};
use laneway_proto::topic::{check_filter, check_name};

use crate::args::Common;
use crate::error::{Error, Result};
use crate::load::dice::Dice;
use crate::netns::{Bridge, CABLE};
use crate::report::Row;

const CASE: &str = "udp-filter";
const SEED: u64 = 0xF117_E12E;
const PORT: u16 = 5263;
const DATAGRAMS: u64 = 100_000;
const DATAGRAMS_QUICK: u64 = 2_000;
const PAIRS: u64 = 10_000_000;
const PAIRS_QUICK: u64 = 200_000;
/// So long that two messages never share a datagram.
const PAYLOAD_BYTES: usize = 1_000;
/// Datagrams sent in a row, and the pause behind them: 20,000 a second at most.
const ROW: u64 = 20;
const PAUSE: Duration = Duration::from_millis(1);
/// How long the last datagrams may take.
const PATIENCE: Duration = Duration::from_secs(20);
const TOPICS: [&str; 3] = ["plant/line/1/speed", "plant/line/2/speed", "plant/hall"];

/// The hosts.
const SENDER: usize = 0;
const WANTS: usize = 1;
const WANTS_NOT: usize = 2;

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let (datagrams, pairs) = if common.quick { (DATAGRAMS_QUICK, PAIRS_QUICK) } else { (DATAGRAMS, PAIRS) };
    println!("{CASE}: {datagrams} datagrams for each set of interests; {pairs} pairs, seed {SEED:#x}\n");
    let many: Vec<String> =
        (0..).map(|at| format!("house/{at}/state")).filter(|topic| is_far(topic)).take(1_000).collect();
    let sets: [(&str, Vec<String>); 3] = [
        ("exact", vec!["plant/line/3/speed".into()]),
        ("wildcard", vec!["house/#".into(), "garden/+/state".into()]),
        ("1000 topics", many),
    ];
    let mut rows = Vec::new();
    for (name, filters) in &sets {
        if let Some(filter) = filters.iter().find(|filter| !is_far(filter)) {
            return Err(Error::Failed(format!("{filter} may match what is sent: the set of interests is ill chosen")));
        }
        let seen = send(datagrams, filters)?;
        eprintln!("{CASE}: {name}: {seen:?}");
        rows.extend(seen.rows(name));
    }
    rows.push(pairs_row(pairs));
    Ok(rows)
}

/// Whether a filter's program lets through nothing of what is sent.
fn is_far(filter: &str) -> bool {
    TOPICS.iter().all(|topic| !Interest::of(filter).may_match(topic_tag(topic)))
}

/// What one set of interests showed.
#[derive(Debug)]
struct Seen {
    published: u64,
    /// Packets on the sender's cable.
    sent: u64,
    received: u64,
    dropped: u64,
    /// Datagrams that reached a program of the host without interest.
    taken: u64,
    /// What the receivers sent.
    answered: u64,
}

impl Seen {
    fn rows(&self, name: &str) -> [Row; 4] {
        let row = |what: &str, laneway: u64, floor: u64, holds: bool| {
            Row::reported(CASE, format!("{name}: {what}"), "datagrams", Some(laneway as f64), Some(floor as f64))
                .judged(holds)
        };
        let Self { published, sent, received, dropped, taken, answered } = *self;
        [
            row("on the cable, of messages", sent, published, sent == published),
            row("dropped by the kernel of a host without interest", dropped, sent, dropped == sent),
            row("of those sent kept from its program", sent - taken.min(sent), sent, taken == 0),
            row("received by a host with interest", received, published, received == published && answered == 0),
        ]
    }
}

/// Two hosts listen, a third one publishes.
fn send(datagrams: u64, unwanted: &[String]) -> Result<Seen> {
    let bridge = Bridge::lay(3)?;
    let url = format!("udp+broadcast://{}:{PORT}?iface={CABLE}", Bridge::BROADCAST);
    let (received, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (ready, is_ready) = mpsc::channel();
        let listen = |place: usize, filters: Vec<String>| {
            let (bridge, url, received, done, ready) = (&bridge, &url, &received, &done, ready.clone());
            scope.spawn(move || {
                let heard = listen(bridge, place, url, &filters, received, done, &ready);
                if let Err(error) = &heard {
                    let _ = ready.send(Err(Error::Failed(error.to_string())));
                }
                heard
            })
        };
        listen(WANTS, TOPICS.map(String::from).to_vec());
        listen(WANTS_NOT, unwanted.to_vec());
        let seen = (0..2)
            .try_for_each(|_| is_ready.recv().unwrap_or_else(|_| Err(Error::Failed("a listener ended".into()))))
            .and_then(|()| {
                scope
                    .spawn(|| publish(&bridge, &url, datagrams, &received))
                    .join()
                    .unwrap_or_else(|_| Err(Error::Failed("the publisher panicked".into())))
            });
        done.store(true, Ordering::Relaxed);
        seen
    })
}

fn listen(
    bridge: &Bridge,
    place: usize,
    url: &str,
    filters: &[String],
    received: &AtomicU64,
    done: &AtomicBool,
    ready: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    bridge.enter(place)?;
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("host {place}: {error}"));
    let client = ConnectOptions::new().no_reconnect().connect_blocking(url).map_err(|error| failed(&error))?;
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let mut subscription = client.subscribe_any(&filters).map_err(|error| failed(&error))?;
    let _ = ready.send(Ok(()));
    while !done.load(Ordering::Relaxed) {
        let message = subscription.recv_timeout(Duration::from_millis(50)).map_err(|error| failed(&error))?;
        if message.is_some() && place == WANTS {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn publish(bridge: &Bridge, url: &str, datagrams: u64, received: &AtomicU64) -> Result<Seen> {
    bridge.enter(SENDER)?;
    let failed = |error: &dyn std::fmt::Display| Error::Failed(format!("the publisher: {error}"));
    let before = bridge.sent(SENDER)?;
    let client = ConnectOptions::new().no_reconnect().connect_blocking(url).map_err(|error| failed(&error))?;
    let payload = vec![0x5A; PAYLOAD_BYTES];
    for number in 0..datagrams {
        let topic = TOPICS[(number % TOPICS.len() as u64) as usize];
        client.publish_with(topic, &payload[..], Lane::STREAM.into()).map_err(|error| failed(&error))?;
        if number % ROW == ROW - 1 {
            std::thread::sleep(PAUSE);
        }
    }
    client.ping().map_err(|error| failed(&error))?;
    let since = Instant::now();
    while received.load(Ordering::Relaxed) < datagrams && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Seen {
        published: datagrams,
        sent: bridge.sent(SENDER)? - before,
        received: received.load(Ordering::Relaxed),
        dropped: bridge.drops(WANTS_NOT, PORT)?,
        taken: bridge.taken(WANTS_NOT)?,
        answered: bridge.sent(WANTS)? + bridge.sent(WANTS_NOT)?,
    })
}

/// Random topics and filters: what the naive matcher matches, the tag's rule lets through.
fn pairs_row(pairs: u64) -> Row {
    let mut dice = Dice::new(SEED);
    let (mut matched, mut passed) = (0u64, 0u64);
    let mut drawn = 0;
    while drawn < pairs {
        let (filter, topic) = (text(&mut dice, true), text(&mut dice, false));
        if check_filter(&filter).is_err() || check_name(&topic).is_err() {
            continue;
        }
        drawn += 1;
        if matches_naively(&filter, &topic) {
            matched += 1;
            let interest = Interest::of(&filter);
            let tags = [topic_tag(&topic), group_tag(&topic), ANYTHING];
            passed += u64::from(tags.iter().all(|&tag| interest.may_match(tag)));
        }
    }
    let metric = "matching pairs of topic and filter let through".to_owned();
    Row::reported(CASE, metric, "pairs", Some(passed as f64), Some(matched as f64))
        .judged(passed == matched && matched > pairs / 1_000)
}

/// As MQTT says, level by level.
fn matches_naively(filter: &str, topic: &str) -> bool {
    let (mut wanted, mut levels) = (filter.split('/'), topic.split('/'));
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(level)) if want == level => {}
            (None, None) => return true,
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// One to four short levels; of a filter some are wildcards.
fn text(dice: &mut Dice, wildcards: bool) -> String {
    let levels = 1 + dice.below(4);
    let mut text = String::new();
    for level in 0..levels {
        if level > 0 {
            text.push('/');
        }
        match dice.below(12) {
            0 if wildcards && level + 1 == levels => text.push('#'),
            1 | 2 if wildcards => text.push('+'),
            _ => text.push_str(["a", "b", "c", "state", "sensors", "d1"][dice.below(6) as usize]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_naive_matcher_knows_the_cases_of_the_standard() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("+", "a", true),
            ("+/+", "a", false),
            ("#", "$sys/x", false),
            ("$sys/#", "$sys/x", true),
            ("a/b", "a/b/c", false),
        ] {
            assert_eq!(matches_naively(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn no_pair_is_rejected_that_matches() {
        assert_eq!(pairs_row(20_000).holds, Some(true));
    }
}
