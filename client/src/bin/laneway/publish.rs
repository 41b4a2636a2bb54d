//! `laneway pub`.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::iter;
use std::thread::sleep;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Receipt};
use laneway_client::core::WOVEN_BYTES_MIN;
use laneway_client::{
    CONFIRM_TIMEOUT_DEFAULT, ConfirmError, ConfirmOptions, ConnectOptions, Payload, PublishError, PublishOptions,
};
use laneway_proto::topic::check_publish;

use crate::args::{Level, Link, Publish};
use crate::broker::reach;
use crate::failure::Failure;
use crate::lines::{LineError, Lines};

pub(crate) fn run(link: &Link, args: &Publish) -> Result<(), Failure> {
    refuse_idle_options(args)?;
    check_publish(&args.topic).map_err(|error| Failure::Usage(format!("the topic '{}': {error}", args.topic)))?;
    let confirms = args.level == Level::Delivered;
    // Only what is to be delivered is sent again over another link.
    let options = if confirms { ConnectOptions::new() } else { ConnectOptions::new().no_reconnect() };
    let client = reach(link, &options, ConnectOptions::connect_blocking)?;
    let mut receipts = Receipts::default();
    if args.lines { lines(&client, args, &mut receipts) } else { message(&client, args, &mut receipts) }?;
    match args.level {
        Level::Sent => client.close().map_err(Failure::failed),
        Level::Delivered => {
            let told = receipts.finish();
            let _ = client.close();
            told
        }
        Level::Accepted => {
            client.flush().map_err(Failure::failed)?;
            // The broker has everything; how the connection ends makes no difference.
            let _ = client.close();
            Ok(())
        }
    }
}

/// Options that would change nothing are a mistake.
fn refuse_idle_options(args: &Publish) -> Result<(), Failure> {
    let idle = [(args.min_receivers.is_some(), "--min-receivers"), (args.timeout.is_some(), "--timeout")];
    match idle.iter().find(|(given, _)| *given && args.level != Level::Delivered) {
        Some((_, option)) => {
            Err(Failure::Usage(format!("{option} says nothing without --level delivered; add that, or leave it out")))
        }
        None => Ok(()),
    }
}

/// Publishes one message as often as asked.
fn message(client: &Client, args: &Publish, receipts: &mut Receipts) -> Result<(), Failure> {
    let limit = client.terms().message_bytes_max as usize;
    let payload = match (&args.payload, args.size) {
        (Some(payload), _) => payload.as_encoded_bytes().to_vec(),
        // Looked at before it is made: the number is the user's.
        (None, Some(bytes)) if bytes as usize > limit => return Err(too_large(bytes as usize, limit)),
        (None, Some(bytes)) => generated(bytes as usize),
        (None, None) => read_message(limit)?,
    };
    let shared = bytes::Bytes::from(payload);
    let messages = iter::repeat_with(|| {
        // A reference count is cheaper than a copy only for what is not copied anyway.
        if shared.len() >= WOVEN_BYTES_MIN { Payload::from(&shared) } else { Payload::from(&shared[..]) }
    });
    let count = usize::try_from(args.repeat).unwrap_or(usize::MAX);
    publish(client, args, &mut Pace::new(args.rate), messages.take(count), receipts)
}

/// Publishes each line of standard input.
fn lines(client: &Client, args: &Publish, receipts: &mut Receipts) -> Result<(), Failure> {
    let limit = client.terms().message_bytes_max as usize;
    let mut lines = Lines::new(io::stdin().lock(), limit);
    let mut pace = Pace::new(args.rate);
    loop {
        let chunk = lines.next_chunk().map_err(|error| match error {
            LineError::TooLong(number) => {
                Failure::Failed(format!("line {number} is longer than a message may be ({limit} bytes); split it"))
            }
            LineError::Read(error) => Failure::Failed(format!("standard input: {error}")),
        })?;
        let Some(chunk) = chunk else { return Ok(()) };
        let each = chunk.split(|&byte| byte == b'\n');
        publish(client, args, &mut pace, each, receipts)?;
    }
}

fn publish<'a, I>(
    client: &Client,
    args: &Publish,
    pace: &mut Pace,
    payloads: I,
    receipts: &mut Receipts,
) -> Result<(), Failure>
where
    I: Iterator,
    I::Item: Into<Payload<'a>>,
{
    let options =
        PublishOptions { lane: args.lane, ttl_ms: args.ttl, retain: args.retain, ..PublishOptions::default() };
    let failed = |error: PublishError| failure(client, &error);
    if args.level == Level::Delivered {
        let level = laneway_client::Level::delivered(args.min_receivers.unwrap_or(1));
        let timeout = args.timeout.unwrap_or(CONFIRM_TIMEOUT_DEFAULT);
        let options = ConfirmOptions { level, timeout, publish: options };
        for payload in payloads {
            pace.wait();
            receipts.add(client.publish_receipt(&args.topic, payload, options).map_err(refusal)?);
        }
        return Ok(());
    }
    if !pace.is_paced() {
        return client.publish_batch_with(&args.topic, payloads, options).map_err(failed);
    }
    for payload in payloads {
        pace.wait();
        client.publish_with(&args.topic, payload, options).map_err(failed)?;
    }
    Ok(())
}

fn refusal(error: ConfirmError) -> Failure {
    if let ConfirmError::Refused(PublishError::LaneLoses(_)) = error {
        return Failure::Usage(error.to_string());
    }
    Failure::failed(error)
}

/// Messages under way whose confirmations are waited for, oldest first.
#[derive(Default)]
struct Receipts {
    waiting: VecDeque<Receipt>,
    messages: u64,
    unconfirmed: u64,
    /// Why the first of them was not.
    reason: Option<ConfirmError>,
    receivers_min: Option<u16>,
}

/// Messages under way at a time.
const UNDER_WAY_MAX: usize = 512;

impl Receipts {
    fn add(&mut self, receipt: Receipt) {
        self.messages += 1;
        self.waiting.push_back(receipt);
        if self.waiting.len() > UNDER_WAY_MAX {
            self.await_first();
        }
    }

    fn await_first(&mut self) {
        let Some(receipt) = self.waiting.pop_front() else { return };
        match receipt.wait() {
            Ok(confirmed) => {
                let least = self.receivers_min.map_or(confirmed.receivers, |least| least.min(confirmed.receivers));
                self.receivers_min = Some(least);
            }
            Err(error) => {
                self.unconfirmed += 1;
                self.reason.get_or_insert(error);
            }
        }
    }

    /// Waits for the rest, and says what came of all.
    fn finish(mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.await_first();
        }
        if let Some(reason) = self.reason {
            let (lost, all) = (self.unconfirmed, self.messages);
            return Err(Failure::Failed(format!("{lost} of {all} messages not confirmed: {reason}")));
        }
        let Some(least) = self.receivers_min else { return Ok(()) };
        writeln!(io::stdout(), "delivered to {least}").map_err(|error| Failure::output(&error))
    }
}

fn failure(client: &Client, error: &PublishError) -> Failure {
    if let PublishError::Lost(_) = error {
        return Failure::Failed(format!("{}: {error}", client.remote_peer()));
    }
    Failure::failed(error)
}

fn too_large(bytes: usize, limit: usize) -> Failure {
    let bytes_max = u32::try_from(limit).unwrap_or(u32::MAX);
    Failure::failed(PublishError::TooLarge { bytes, bytes_max })
}

fn read_message(limit: usize) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    let mut stdin = io::stdin().lock().take(limit as u64 + 1);
    stdin.read_to_end(&mut message).map_err(|error| Failure::Failed(format!("standard input: {error}")))?;
    if message.len() > limit {
        return Err(Failure::Failed(format!(
            "standard input is larger than a message may be ({limit} bytes); split it, or use --lines"
        )));
    }
    Ok(message)
}

/// Printable bytes, so that a terminal survives them.
fn generated(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

/// Keeps a rate by when each message is due, so that being late once does not make it slower.
struct Pace {
    interval: Option<Duration>,
    due: Instant,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        let interval = rate.map(|rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX));
        Self { interval, due: Instant::now() }
    }

    const fn is_paced(&self) -> bool {
        self.interval.is_some()
    }

    /// Waits until the next message is due.
    fn wait(&mut self) {
        let Some(interval) = self.interval else { return };
        sleep(self.due.saturating_duration_since(Instant::now()));
        self.due = self.due.checked_add(interval).unwrap_or(self.due);
    }
}
