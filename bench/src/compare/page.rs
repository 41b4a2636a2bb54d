//! The page for people: who was measured where and how, tables, plots.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::delays::{PERCENTILES, WAYS};
use super::plot::{self, Bar, Group};
use super::rival::Work;
use super::saturated::limits;
use super::stage::Stage;
use super::{Found, Peer};
use crate::error::{Error, Result};
use crate::report::{self, Row, figure};

/// Writes `compare.md`, `compare.json` and the plots into a folder.
pub(super) fn write(folder: &Path, stage: &Stage, peers: &[Peer], found: &Found, rows: &[Row]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("making {}", folder.display())))?;
    let mut page = head(stage, peers);
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))
    };
    if !found.table.0.is_empty() {
        put(
            "throughput.svg",
            &plot::bars("Delivered messages per second", &throughput(found), |value| figure(Some(value))),
        )?;
        page.push_str(&throughput_table(found));
    }
    if !found.delays.is_empty() {
        put(
            "latency.svg",
            &plot::bars("Microseconds, p50 and p99", &latency(found), |value| format!("{value:.1} us")),
        )?;
        page.push_str(&delay_table(found));
    }
    page.push_str(&idle_table(found));
    page.push_str(&slow_table(found));
    page.push_str(&bar_table(rows));
    put("compare.md", &page)?;
    report::write_json(&folder.join("compare.json"), rows)
}

fn head(stage: &Stage, peers: &[Peer]) -> String {
    let mut text = String::from(
        "# Laneway beside other brokers\n\nWritten by `laneway-bench compare`; nothing here is edited by hand.\n\n",
    );
    let _ = writeln!(text, "- Machine: {}", machine());
    let cores = stage.arena.cores();
    let _ = writeln!(
        text,
        "- Every broker and relay alone on processor {}, one thread of ours; the load on processor {}, loopback TCP.",
        cores.target, cores.load
    );
    let _ = writeln!(text, "- Laneway: {}; one shard, no other option.", version(stage.arena.broker_program()));
    let _ = writeln!(text, "- Commands: `bench/peers/install`, then `laneway-bench compare --out docs/benchmarks`.");
    text.push_str("- Medians of interleaved runs, smallest and largest in brackets. Every delivery is checked (but Zenoh's, whose load is its own client).\n\n");
    text.push_str("| peer | version | settings |\n| --- | --- | --- |\n");
    for peer in peers {
        let _ = writeln!(text, "| {} | {} | {} |", peer.name(), peer.version(&stage.peers), peer.settings());
    }
    text.push('\n');
    text
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    // Not those this process may use: it is pinned.
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{} × {}, Linux {}",
        count,
        model.trim_start_matches([' ', '\t', ':']),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output().ok();
    output.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn throughput(found: &Found) -> Vec<Group> {
    let group = |work: Work| Group {
        title: work.name(),
        bars: found
            .table
            .0
            .iter()
            .filter(|entry| entry.work == work)
            .filter_map(|entry| {
                let value = entry.spread(|pushed| pushed.figure.messages_per_s)?.median;
                Some(Bar { label: entry.rival.name().into(), value, ours: entry.rival.is_laneway() })
            })
            .collect(),
    };
    found.table.works().into_iter().map(group).collect()
}

fn throughput_table(found: &Found) -> String {
    let mut text = String::from(
        "## As fast as it goes\n\nDelivered messages a second to all subscribers together; processor time of the broker for each; share of its core it was on. Above 90 % the broker is the limit, else the load is.\n\n![throughput](throughput.svg)\n\n| work | who | messages/s | ns of processor each | of its core | limit |\n| --- | --- | ---: | ---: | ---: | --- |\n",
    );
    for entry in &found.table.0 {
        let (work, who) = (entry.work.name(), entry.rival.name());
        let Some(rate) = entry.spread(|pushed| pushed.figure.messages_per_s) else {
            let _ = writeln!(text, "| {work} | {who} | failed | | | |");
            continue;
        };
        let cpu = entry.spread(|pushed| pushed.figure.cpu_ns_per_message).map_or(0.0, |spread| spread.median);
        let busy = entry.spread(|pushed| pushed.busy_share).map_or(0.0, |spread| spread.median);
        let _ = writeln!(
            text,
            "| {work} | {who} | {} ({}–{}) | {cpu:.0} | {:.0} % | {} |",
            figure(Some(rate.median)),
            figure(Some(rate.min)),
            figure(Some(rate.max)),
            busy * 100.0,
            limits(busy)
        );
    }
    text.push('\n');
    text
}

fn latency(found: &Found) -> Vec<Group> {
    let mut groups = Vec::new();
    for way in WAYS {
        for (place, (_, label)) in PERCENTILES.iter().enumerate().take(2) {
            let bars = found.delays.iter().filter(|delayed| delayed.way == way).filter_map(|delayed| {
                let value = delayed.median(place)?;
                Some(Bar { label: delayed.rival.name().into(), value, ours: delayed.rival.is_laneway() })
            });
            groups.push(Group { title: format!("{}, {label}", way.name()), bars: bars.collect() });
        }
    }
    groups
}

fn delay_table(found: &Found) -> String {
    let mut text = String::from(
        "## How long a message takes\n\nMicroseconds; paced ones from the moment the message was due. The load never sleeps.\n\n![latency](latency.svg)\n\n| what | who | p50 | p99 | p99.9 |\n| --- | --- | ---: | ---: | ---: |\n",
    );
    for delayed in &found.delays {
        let at = |place| delayed.median(place).map_or_else(|| "failed".into(), |us| format!("{us:.1}"));
        let _ =
            writeln!(text, "| {} | {} | {} | {} | {} |", delayed.way.name(), delayed.rival.name(), at(0), at(1), at(2));
    }
    text.push('\n');
    text
}

fn idle_table(found: &Found) -> String {
    if found.idle.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "## Idle connections\n\nResident bytes of the broker for each subscribed connection that hears nothing.\n\n| who | bytes |\n| --- | ---: |\n",
    );
    for (rival, bytes) in &found.idle {
        let bytes = bytes.map_or_else(|| "failed".into(), |bytes| format!("{bytes:.0}"));
        let _ = writeln!(text, "| {} | {bytes} |", rival.name());
    }
    text.push('\n');
    text
}

fn slow_table(found: &Found) -> String {
    if found.slow.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "## A reader beside one that has stopped\n\n50,000 messages of 1 KiB a second to two subscribers, one of which does not read. Laneway's has the policy `drop_oldest`.\n\n| who | the other got | longest silence | memory grew by | the stopped one |\n| --- | ---: | ---: | ---: | --- |\n",
    );
    for (rival, slowed) in &found.slow {
        let Some(slowed) = slowed else {
            let _ = writeln!(text, "| {} | failed | | | |", rival.name());
            continue;
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} % | {:.0} ms | {:.1} MiB | {} |",
            rival.name(),
            slowed.seen.delivered / slowed.seen.offered * 100.0,
            slowed.seen.silence.as_secs_f64() * 1e3,
            slowed.growth_bytes / 1_048_576.0,
            if slowed.cut_off { "was cut off" } else { "stayed" }
        );
    }
    text.push('\n');
    text
}

fn bar_table(rows: &[Row]) -> String {
    let mut text = String::from(
        "## Bars\n\n| what | laneway | other | ratio | bar | |\n| --- | ---: | ---: | ---: | ---: | --- |\n",
    );
    for row in rows.iter().filter(|row| row.holds.is_some()) {
        let ratio = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            row.metric,
            figure(row.laneway),
            figure(row.floor),
            ratio(row.ratio),
            ratio(row.bar),
            if row.holds == Some(true) { "met" } else { "not met" }
        );
    }
    text
}
