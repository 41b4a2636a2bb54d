//! `laneway serial monitor`.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Reading, Readings, open};
use crate::args::SerialMonitor;
use crate::failure::Failure;

/// Bit times of a byte.
const BITS: f64 = 10.0;

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    frames: u64,
    bad: u64,
    bytes: u64,
}

pub(super) fn run(args: &SerialMonitor) -> Result<(), Failure> {
    let name = args.port.display();
    let mut port = open(&args.port, args.baud)
        .map_err(|error| Failure::Failed(format!("{name}: {error}; 'laneway serial doctor {name}' says why")))?;
    let mut readings = Readings::new(args.protocol.and_then(|protocol| protocol.protocol()));
    let begin = Instant::now();
    let until = args.seconds.map(|seconds| begin + seconds);
    let (mut seen, mut buffer) = (Seen::default(), [0; 1_024]);
    let ended = loop {
        let time_is_over = until.is_some_and(|until| Instant::now() >= until);
        if time_is_over || args.count.is_some_and(|count| seen.frames >= count) {
            break Ok(());
        }
        let count = match port.read(&mut buffer) {
            Ok(0) => break Err(Failure::Failed(format!("{name}: unplugged"))),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => 0,
            Err(error) => break Err(Failure::Failed(format!("{name}: {error}"))),
        };
        seen.bytes += count as u64;
        let mut all = Vec::new();
        readings.read(buffer.get(..count).unwrap_or_default(), &mut all);
        for reading in all {
            if args.count.is_some_and(|count| seen.frames >= count) {
                break;
            }
            seen.frames += u64::from(!reading.bad);
            seen.bad += u64::from(reading.bad);
            show(args, begin.elapsed(), reading)?;
        }
    };
    summary(args, begin.elapsed(), &seen)?;
    ended
}

/// How long so many bytes occupy the line, in milliseconds.
fn airtime_ms(bytes: u64, baud: u32) -> f64 {
    bytes as f64 * BITS * 1_000.0 / f64::from(baud)
}

fn show(args: &SerialMonitor, at: Duration, reading: Reading) -> Result<(), Failure> {
    let airtime_ms = airtime_ms(reading.bytes as u64, args.baud);
    let line = if args.json {
        let mut fields = reading.fields;
        fields.insert("at_s".into(), at.as_secs_f64().into());
        fields.insert("bytes".into(), reading.bytes.into());
        fields.insert("airtime_ms".into(), airtime_ms.into());
        Value::Object(fields).to_string()
    } else {
        format!("{:>10.3} s {airtime_ms:>7.2} ms  {}", at.as_secs_f64(), reading.text)
    };
    say(&line)
}

fn summary(args: &SerialMonitor, time: Duration, seen: &Seen) -> Result<(), Failure> {
    let Seen { frames, bad, bytes } = *seen;
    let busy = airtime_ms(bytes, args.baud) / (time.as_secs_f64() * 10.0);
    if args.json {
        let summary = serde_json::json!({ "kind": "SUMMARY", "frames": frames, "bad": bad, "bytes": bytes,
            "seconds": time.as_secs_f64(), "busy_percent": busy });
        return say(&summary.to_string());
    }
    say(&format!(
        "{frames} frames, {bad} bad, {bytes} bytes in {:.1} s: the line was busy {busy:.1} %",
        time.as_secs_f64()
    ))
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}
