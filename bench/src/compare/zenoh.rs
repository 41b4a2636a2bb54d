//! Zenoh's load: a program of its own on zenoh's client (`bench/peers/zenoh-load`), which says when it has warmed up and
//! when it is done.

use std::io::{BufRead as _, BufReader};
use std::process::{Child as Process, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use super::Peer;
use super::delays::Delays;
use super::rival::Work;
use super::stage::Stage;
use crate::child;
use crate::error::{Error, Result};
use crate::load::paced::histogram;
use crate::load::saturate::{Figure, Timing};
use crate::reaper;
use crate::sched::{Watch, Watched};

/// How long the load may take to connect, and longer than it measures to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// One run as fast as it goes.
pub(super) fn push(stage: &Stage, work: Work, timing: Timing) -> Result<(Figure, Watched)> {
    let (subscribers, streams) = work.subscribers();
    // Its client gathers messages by itself; `express` sends each at once.
    let express = matches!(work, Work::Unbatched);
    let arguments = [
        ("--payload", work.payload_bytes().to_string()),
        ("--subscribers", subscribers.to_string()),
        ("--streams", streams.to_string()),
        ("--warm-ms", timing.warm_up.as_millis().to_string()),
        ("--measure-ms", timing.measured.as_millis().to_string()),
        ("--express", express.to_string()),
    ];
    let (answer, watched) = Helper::run(stage, "saturate", &arguments, timing.measured)?;
    let delivered: f64 = answer.parse().map_err(|_| Error::Failed(format!("zenoh-load said 'done {answer}'")))?;
    let figure = Figure {
        messages_per_s: delivered / watched.elapsed.as_secs_f64(),
        cpu_ns_per_message: watched.target_run_ns as f64 / delivered.max(1.0),
        wait_share: watched.own_wait_share,
    };
    Ok((figure, watched))
}

/// Messages at a rate.
pub(super) fn paced(stage: &Stage, rate_hz: u32, span: Duration) -> Result<Delays> {
    let arguments = [("--rate", rate_hz.to_string()), ("--measure-ms", span.as_millis().to_string())];
    delays(stage, "paced", &arguments, span)
}

/// One message after the other.
pub(super) fn echo(stage: &Stage, trips: u32) -> Result<Delays> {
    delays(stage, "echo", &[("--trips", trips.to_string())], Duration::ZERO)
}

fn delays(stage: &Stage, way: &str, arguments: &[(&str, String)], span: Duration) -> Result<Delays> {
    let (answer, watched) = Helper::run(stage, way, arguments, span)?;
    let mut latencies = histogram()?;
    for pair in answer.split_whitespace() {
        let counted = pair.split_once(':').and_then(|(ns, count)| Some((ns.parse().ok()?, count.parse().ok()?)));
        let (ns, count) = counted.ok_or_else(|| Error::Failed(format!("zenoh-load said '{pair}'")))?;
        latencies.saturating_record_n(ns, count);
    }
    if latencies.is_empty() {
        return Err(Error::Failed("zenoh-load timed nothing".into()));
    }
    Ok(Delays::of(&latencies, watched.own_wait_share))
}

/// The running load.
struct Helper {
    process: Process,
    lines: Receiver<String>,
}

impl Helper {
    /// Runs it against a router of its own; returns what stands behind `done`, and what was seen while it measured.
    fn run(stage: &Stage, way: &str, arguments: &[(&str, String)], span: Duration) -> Result<(String, Watched)> {
        let (router, doors) = stage.start(Peer::Zenoh)?;
        let helper = Self::start(stage, way, &doors.publish.to_string(), arguments)?;
        helper.hear("warm", PATIENCE)?;
        let watch = Watch::start(router.id())?;
        let answer = helper.hear("done", PATIENCE + span)?;
        Ok((answer, watch.finish()?))
    }

    fn start(stage: &Stage, way: &str, at: &str, arguments: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(child::own_program()?);
        command.arg("child").arg(std::process::id().to_string()).arg(stage.peers.join("bin/zenoh-load"));
        command.args([way, "--connect", at]);
        for (name, value) in arguments {
            command.args([name, value.as_str()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // It inherits the load's core.
        let mut process = command.spawn().map_err(Error::io("starting zenoh-load"))?;
        reaper::adopt(process.id());
        let (send, lines) = mpsc::channel();
        if let Some(stdout) = process.stdout.take() {
            // Ends with the pipe, and that with the process.
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { process, lines })
    }

    /// Waits for the line that starts with `word`; returns the rest of it.
    fn hear(&self, word: &str, within: Duration) -> Result<String> {
        let line = self.lines.recv_timeout(within);
        let line = line.map_err(|_| Error::Failed(format!("zenoh-load did not say '{word}' within {within:?}")))?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(Error::Failed(format!("zenoh-load said '{line}' instead of '{word}'"))),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        reaper::release(self.process.id());
        let _ = self.process.wait();
    }
}
