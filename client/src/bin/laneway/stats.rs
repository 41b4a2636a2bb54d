//! `laneway stats`.

use std::io::{self, Write};
use std::time::Duration;

use laneway_client::{Client, ConnectOptions, Stat, StatValue};
use tokio::time::timeout;

use crate::args::{Link, Stats};
use crate::broker::reach;
use crate::failure::Failure;
use crate::subscribe::runtime;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Whole numbers up to this are exact in a value, and printed as such.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

pub(crate) fn run(link: &Link, args: &Stats) -> Result<(), Failure> {
    let runtime = runtime()?;
    let options = ConnectOptions::new().no_reconnect();
    let client = reach(link, &options, |options, url| runtime.block_on(options.connect(url)))?;
    let stats = runtime.block_on(ask(&client, &args.prefix))?;
    let mut out = Vec::new();
    if args.json { json(&mut out, &stats) } else { table(&mut out, &stats) }.map_err(Failure::failed)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
}

async fn ask(client: &Client, prefix: &str) -> Result<Vec<Stat>, Failure> {
    let broker = client.remote_peer();
    let stats = match timeout(PATIENCE, client.stats(prefix)).await {
        Ok(answered) => answered.map_err(|error| Failure::Failed(format!("{broker}: {error}")))?,
        Err(_) => {
            let reason = format!("{broker}: no answer within {} s; is the broker overloaded?", PATIENCE.as_secs());
            return Err(Failure::Failed(reason));
        }
    };
    // Everything asked for is there; how the connection ends makes no difference.
    let _ = client.close().await;
    if stats.is_empty() && !prefix.is_empty() {
        let reason = format!("{broker}: no counter's name begins with '{prefix}'; 'laneway stats' prints all");
        return Err(Failure::Failed(reason));
    }
    Ok(stats)
}

/// A line for each: the name, spaces up to a column, and the value at the right of another.
fn table(out: &mut Vec<u8>, stats: &[Stat]) -> io::Result<()> {
    let values: Vec<String> = stats.iter().map(|stat| value(&stat.value)).collect();
    let names = stats.iter().map(|stat| stat.name.len()).max().unwrap_or(0);
    let numbers = stats.iter().zip(&values).filter(|(stat, _)| stat.number().is_some());
    let width = numbers.map(|(_, value)| value.len()).max().unwrap_or(0);
    for (stat, value) in stats.iter().zip(&values) {
        let width = if stat.number().is_some() { width } else { 0 };
        writeln!(out, "{:names$}  {value:>width$}", stat.name)?;
    }
    Ok(())
}

/// One object, in the broker's order.
fn json(out: &mut Vec<u8>, stats: &[Stat]) -> io::Result<()> {
    for (place, stat) in stats.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{" } else { b",\n " });
        serde_json::to_writer(&mut *out, &stat.name)?;
        out.extend_from_slice(b": ");
        if stat.number().is_some() {
            out.extend_from_slice(value(&stat.value).as_bytes());
        } else {
            serde_json::to_writer(&mut *out, &stat.value.to_string())?;
        }
    }
    out.extend_from_slice(if stats.is_empty() { b"{}\n" } else { b"}\n" });
    Ok(())
}

/// Whole numbers whole, others with three decimals.
fn value(value: &StatValue) -> String {
    let StatValue::Number(number) = value else { return value.to_string() };
    match number {
        _ if !number.is_finite() => "0".into(),
        _ if number.fract() == 0.0 && number.abs() <= WHOLE_MAX => format!("{number:.0}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Vec<Stat> {
        let stat = |name: &str, value| Stat { name: name.into(), value };
        vec![
            stat("broker.version", StatValue::Text("1.0 \"x\"".into())),
            stat("a", StatValue::Number(12_345_678_901.0)),
            stat("a.us", StatValue::Number(1.28)),
        ]
    }

    fn printed(print: impl Fn(&mut Vec<u8>, &[Stat]) -> io::Result<()>, stats: &[Stat]) -> String {
        let mut out = Vec::new();
        print(&mut out, stats).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_table_has_names_at_the_left_and_numbers_at_the_right() {
        let expected = "broker.version  1.0 \"x\"\na               12345678901\na.us                  1.280\n";
        assert_eq!(printed(table, &stats()), expected);
    }

    #[test]
    fn json_is_one_object_of_numbers_and_texts() {
        let expected = "{\"broker.version\": \"1.0 \\\"x\\\"\",\n \"a\": 12345678901,\n \"a.us\": 1.280}\n";
        assert_eq!(printed(json, &stats()), expected);
        assert_eq!(printed(json, &[]), "{}\n");
    }
}
