//! Publishes that are to be delivered to everybody, and who got them: what was sworn is compared with what happened.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use laneway_client::blocking::{Client, Receipt, Subscription};
use laneway_client::{ConfirmError, ConfirmOptions, ConnectOptions, Lane, Level, ReconnectOptions, Retry};

use crate::error::{Error, Result};

/// Subscribers, all of which have to have a message before it is confirmed.
pub const SUBSCRIBERS: u16 = 10;
/// The publishers' lanes, one each.
pub const LANES: [Lane; 3] = [Lane::COMMAND, Lane::BULK, Lane::EVENT];
/// Publishes of each that wait for their confirmation.
const UNDER_WAY_MAX: usize = 16;
/// How long a publish may wait for its receivers.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(3);
/// How long subscribers are silent at the end.
const QUIET: Duration = Duration::from_millis(500);
const TOPIC: &str = "oath/x";
const PAYLOAD_BYTES: usize = 64;

/// What everybody sees of the run.
#[derive(Debug, Default)]
pub struct Board {
    /// No further message is published.
    pub stop: AtomicBool,
    /// All publishers have ended.
    done: AtomicBool,
    /// Messages confirmed so far.
    pub confirmed: AtomicU64,
}

/// Who publishes, and its number of the message.
type Message = (u8, u32);

/// What one publisher was told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sworn {
    /// Messages published.
    pub published: u32,
    /// Of those, the ones that all subscribers have.
    pub confirmed: Vec<u32>,
}

/// What is wrong with what one subscriber got, in messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Confirmed, and not there.
    pub missing: u64,
    /// There more than once.
    pub doubled: u64,
    /// Behind a later one of the same publisher, on a lane that keeps the order.
    pub out_of_order: u64,
}

/// Compares what was sworn, by publisher, with what one subscriber got. Only publishers in `ordered` keep an order.
pub fn compare(sworn: &[Sworn], got: &[Message], ordered: &[bool]) -> Faults {
    let mut faults = Faults::default();
    let mut seen = HashSet::new();
    let mut last: HashMap<u8, u32> = HashMap::new();
    for &(publisher, number) in got {
        if !seen.insert((publisher, number)) {
            faults.doubled += 1;
            continue;
        }
        let last = last.entry(publisher).or_insert(number);
        if number < *last && ordered.get(usize::from(publisher)).copied().unwrap_or(false) {
            faults.out_of_order += 1;
        }
        *last = number.max(*last);
    }
    for (publisher, sworn) in (0u8..).zip(sworn) {
        let missing = sworn.confirmed.iter().filter(|&&number| !seen.contains(&(publisher, number)));
        faults.missing += missing.count() as u64;
    }
    faults
}

/// Publishers and subscribers at work.
#[derive(Debug)]
pub struct Crowd {
    board: &'static Board,
    publishers: Vec<JoinHandle<Result<Sworn>>>,
    subscribers: Vec<JoinHandle<Result<Vec<Message>>>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What the publishers were told.
    pub sworn: Vec<Sworn>,
    /// What each subscriber got.
    pub got: Vec<Vec<Message>>,
}

impl Outcome {
    /// All faults together.
    pub fn faults(&self) -> Faults {
        let ordered = LANES.map(|lane| lane != Lane::EVENT);
        self.got.iter().map(|got| compare(&self.sworn, got, &ordered)).fold(Faults::default(), |sum, one| Faults {
            missing: sum.missing + one.missing,
            doubled: sum.doubled + one.doubled,
            out_of_order: sum.out_of_order + one.out_of_order,
        })
    }

    /// Messages confirmed.
    pub fn confirmed(&self) -> u64 {
        self.sworn.iter().map(|sworn| sworn.confirmed.len() as u64).sum()
    }

    /// Messages published.
    pub fn published(&self) -> u64 {
        self.sworn.iter().map(|sworn| u64::from(sworn.published)).sum()
    }

    /// Messages received, by all together.
    pub fn received(&self) -> u64 {
        self.got.iter().map(|got| got.len() as u64).sum()
    }
}

impl Crowd {
    /// Subscribes everybody at `url`, and starts publishing.
    pub fn start(url: &str, board: &'static Board) -> Result<Self> {
        let mut subscribers = Vec::new();
        for _ in 0..SUBSCRIBERS {
            let client = connect(url)?;
            let subscription =
                client.subscribe(TOPIC).map_err(|error| Error::Failed(format!("subscribing at {url}: {error}")))?;
            subscribers.push(thread::spawn(move || collect(&client, subscription, board)));
        }
        let mut publishers = Vec::new();
        for (publisher, lane) in (0u8..).zip(LANES) {
            let client = connect(url)?;
            publishers.push(thread::spawn(move || publish(&client, publisher, lane, board)));
        }
        Ok(Self { board, publishers, subscribers })
    }

    /// Stops publishing, and waits for everything that is under way.
    pub fn finish(self) -> Result<Outcome> {
        self.board.stop.store(true, Ordering::Release);
        let sworn = self.publishers.into_iter().map(join).collect::<Result<Vec<_>>>();
        self.board.done.store(true, Ordering::Release);
        let got = self.subscribers.into_iter().map(join).collect::<Result<Vec<_>>>();
        Ok(Outcome { sworn: sworn?, got: got? })
    }
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::Failed("a client's thread panicked".into())))
}

fn connect(url: &str) -> Result<Client> {
    let waits = Retry::new().waits(Duration::from_millis(5), Duration::from_millis(50));
    let reconnect = ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO);
    let options = ConnectOptions::new().retry(waits).reconnect(reconnect);
    options.connect_blocking(url).map_err(|error| Error::Failed(error.to_string()))
}

fn publish(client: &Client, publisher: u8, lane: Lane, board: &Board) -> Result<Sworn> {
    let options =
        ConfirmOptions { level: Level::delivered(SUBSCRIBERS), timeout: CONFIRMED_WITHIN, publish: lane.into() };
    let mut sworn = Sworn::default();
    let mut under_way: VecDeque<(u32, Receipt)> = VecDeque::new();
    loop {
        let goes_on = !board.stop.load(Ordering::Acquire);
        if goes_on && under_way.len() < UNDER_WAY_MAX {
            let mut payload = vec![publisher; PAYLOAD_BYTES];
            payload[1..5].copy_from_slice(&sworn.published.to_le_bytes());
            let receipt = client
                .publish_receipt(TOPIC, payload, options)
                .map_err(|error| Error::Failed(format!("publishing on {lane}: {error}")))?;
            under_way.push_back((sworn.published, receipt));
            sworn.published += 1;
            continue;
        }
        let Some((number, receipt)) = under_way.pop_front() else { return Ok(sworn) };
        match receipt.wait() {
            Ok(_) => {
                sworn.confirmed.push(number);
                board.confirmed.fetch_add(1, Ordering::Relaxed);
            }
            // Nothing was sworn of it.
            Err(ConfirmError::MaybeDelivered(_)) => {}
            Err(error) => return Err(Error::Failed(format!("a publish on {lane}: {error}"))),
        }
    }
}

/// Takes everything until publishers have ended and nothing more comes.
fn collect(_client: &Client, mut subscription: Subscription, board: &Board) -> Result<Vec<Message>> {
    let mut got = Vec::new();
    loop {
        let done = board.done.load(Ordering::Acquire);
        match subscription.recv_timeout(QUIET) {
            Ok(Some(message)) => match message.payload.as_ref() {
                [publisher, a, b, c, d, ..] => got.push((*publisher, u32::from_le_bytes([*a, *b, *c, *d]))),
                short => {
                    return Err(Error::Failed(format!("a message of {} bytes that nobody published", short.len())));
                }
            },
            Ok(None) if done => return Ok(got),
            Ok(None) => {}
            Err(lost) => return Err(Error::Failed(format!("a subscriber lost its connection: {lost}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sworn(confirmed: &[u32]) -> Sworn {
        Sworn { published: 9, confirmed: confirmed.to_vec() }
    }

    #[test]
    fn what_was_confirmed_has_to_be_there_and_what_was_not_need_not() {
        let sworn = [sworn(&[0, 1, 2]), sworn(&[0])];
        let all = [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3)];
        assert_eq!(compare(&sworn, &all, &[true, true]), Faults::default());
        assert_eq!(compare(&sworn, &all[..2], &[true, true]), Faults { missing: 2, ..Faults::default() });
        assert_eq!(compare(&sworn, &[], &[true, true]), Faults { missing: 4, ..Faults::default() });
    }

    #[test]
    fn a_message_that_comes_twice_or_behind_a_later_one_is_found() {
        let sworn = [sworn(&[0, 1, 2])];
        let twice = [(0, 0), (0, 1), (0, 1), (0, 2)];
        assert_eq!(compare(&sworn, &twice, &[true]), Faults { doubled: 1, ..Faults::default() });
        let swapped = [(0, 0), (0, 2), (0, 1)];
        assert_eq!(compare(&sworn, &swapped, &[true]), Faults { out_of_order: 1, ..Faults::default() });
        assert_eq!(compare(&sworn, &swapped, &[false]), Faults::default(), "a lane without an order");
    }
}
