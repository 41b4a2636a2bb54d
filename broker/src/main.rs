//! `lanewayd`, the Laneway message broker.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use laneway_broker::boot::{BootError, Broker, Stopper};
use laneway_broker::config::keys::LOG_LEVELS;
use laneway_broker::config::url::ListenUrl;
use laneway_broker::config::{SHARDS_MAX, Settings, read};
use laneway_broker::descriptors;
use nix::sys::signal::{SigSet, Signal};

/// The Laneway message broker.
///
/// Without options it listens on tcp://127.0.0.1:5263 and on a Unix socket, with one shard per core. It prints a line
/// 'listening URL' for each endpoint, then 'ready'; logs go to standard error. SIGTERM or SIGINT delivers what was
/// accepted and ends it; a second one ends it at once.
#[derive(Parser, Debug)]
#[command(name = "lanewayd", version, after_help = EXAMPLES)]
struct Arguments {
    /// Read this TOML file; configs/lanewayd.toml documents every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, print every mistake with its line, and exit
    #[arg(long)]
    check: bool,
    /// Listen here instead of the default or configured endpoints; may be repeated
    #[arg(long, value_name = "URL", value_parser = ListenUrl::parse)]
    listen: Vec<ListenUrl>,
    /// Shards; 0 means one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=SHARDS_MAX as i64))]
    shards: Option<u32>,
    /// What to log
    #[arg(long, value_name = "LEVEL", value_parser = LOG_LEVELS)]
    log: Option<String>,
}

const EXAMPLES: &str = "Examples:
  lanewayd
  lanewayd --listen tcp://0.0.0.0:5263 --shards 2
  lanewayd --config configs/lanewayd.toml --check

Exit status: 0 ended as asked, 1 could not start or run, 2 wrong usage.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match settings(&arguments) {
        Err(lines) => {
            for line in lines {
                eprintln!("{line}");
            }
            ExitCode::FAILURE
        }
        Ok(_) if arguments.check => ExitCode::SUCCESS,
        Ok(settings) => match serve(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lanewayd: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The file's settings with the flags over them, or lines that say what is wrong.
fn settings(arguments: &Arguments) -> Result<Settings, Vec<String>> {
    let mut settings = arguments.config.as_deref().map_or_else(|| Ok(Settings::default()), read_file)?;
    if !arguments.listen.is_empty() {
        settings.listen.clone_from(&arguments.listen);
    }
    if let Some(shards) = arguments.shards {
        settings.shards = shards;
    }
    if let Some(log) = &arguments.log {
        settings.log.clone_from(log);
    }
    Ok(settings)
}

fn read_file(file: &Path) -> Result<Settings, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let remedy = descriptors::remedy(&error).unwrap_or_else(|| "check the path given with --config".into());
        vec![format!("lanewayd: cannot read {}: {error}; {remedy}", file.display())]
    })?;
    read::read(&text).map_err(|mistakes| {
        let line = |mistake: &laneway_broker::config::Mistake| {
            format!("{}:{}: {}: {}", file.display(), mistake.line, mistake.key, mistake.text)
        };
        mistakes.iter().map(line).collect()
    })
}

fn serve(settings: Settings) -> Result<(), BootError> {
    log_to_stderr(&settings.log);
    let signals = block_signals()?;
    let broker = Broker::start(settings)?;
    let mut out = std::io::stdout().lock();
    for endpoint in broker.endpoints() {
        let _ = writeln!(out, "listening {}", endpoint.url);
    }
    let _ = writeln!(out, "ready");
    let _ = out.flush();
    drop(out);
    let stopper = broker.stopper();
    std::thread::spawn(move || wait_for_signals(&signals, &stopper));
    broker.join()
}

fn log_to_stderr(level: &str) {
    let level = level.parse().unwrap_or(tracing::Level::INFO);
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_max_level(level)
        .with_target(false)
        .init();
}

/// Every thread inherits the mask, so that only the waiting one sees the signals.
fn block_signals() -> Result<SigSet, BootError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block().map_err(|error| BootError::new(format!("cannot block signals: {error}")))?;
    Ok(signals)
}

fn wait_for_signals(signals: &SigSet, stopper: &Stopper) {
    if signals.wait().is_ok() {
        tracing::info!("draining; a second signal ends at once");
        stopper.drain();
    }
    if signals.wait().is_ok() {
        std::process::exit(1);
    }
}
