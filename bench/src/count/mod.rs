//! `count`: instructions of the hot paths, counted by valgrind's callgrind, over those of a committed baseline. A machine
//! that is busy changes times; it does not change these.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `work` | what is counted: codec, route, a whole shard from received bytes to sends |
//! | `door` | the shard's door, in memory |
//! | `shard` | a shard behind that door, with its sessions open |
//! | `baseline` | the file of what was counted before |

mod baseline;
mod door;
mod shard;
mod work;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use work::Work;

use self::baseline::Baseline;
use crate::args::CountOptions;
use crate::child;
use crate::error::{Error, Result};
use crate::report::Row;

const CASE: &str = "count";
/// What a change may cost, 0.03 for 3 %.
const REGRESSION_MAX: f64 = 0.03;
/// Callgrind counts only what happens inside functions of this name: `work` calls everything through one of them.
const MEASURED: &str = "*work*counted_part*";

/// Runs the case: counts, and compares with the baseline or replaces it.
pub fn run(options: &CountOptions) -> Result<Vec<Row>> {
    let compiler = compiler();
    let known = Baseline::read(&options.baseline)?;
    let mut counted = Baseline { compiler: compiler.clone(), instructions: Vec::new() };
    let mut rows = Vec::new();
    let comparable = known.compiler == compiler;
    for work in Work::ALL {
        let per_unit = callgrind(work)? as f64 / f64::from(work.units());
        let before = known.of(work.name());
        let row = Row::reported(CASE, work.name().into(), "instructions", Some(per_unit), before);
        rows.push(match before {
            Some(_) if comparable && !options.refresh => row.with_ceiling(1.0 + REGRESSION_MAX),
            _ => row,
        });
        counted.instructions.push((work.name().into(), per_unit));
    }
    if options.refresh {
        counted.write(&options.baseline)?;
        println!("{} is written", options.baseline.display());
    } else if !comparable {
        println!(
            "not compared: {} is of '{}', here is '{compiler}'; 'laneway-bench count --refresh' replaces it",
            options.baseline.display(),
            known.compiler
        );
    }
    Ok(rows)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().ok();
    output.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions of the part of `work` that counts.
fn callgrind(work: Work) -> Result<u64> {
    let out = out_file(work);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(child::own_program()?)
        .args(["counted", work.name()])
        .output()
        .map_err(|error| Error::Missing(format!("valgrind does not start ({error}); install it")))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(Error::Failed(format!("counting {}: {said}", work.name())));
    }
    let total = read_total(&out);
    // It is worth keeping only for who wants to look inside.
    if std::env::var_os("LANEWAY_KEEP_CALLGRIND").is_none() {
        let _ = std::fs::remove_file(&out);
    }
    total?
        .filter(|&total| total > 0)
        .ok_or_else(|| Error::Failed(format!("callgrind counted nothing of {}: {said}", work.name())))
}

fn out_file(work: Work) -> PathBuf {
    std::env::temp_dir().join(format!("laneway-count-{}-{}", std::process::id(), work.name()))
}

fn read_total(out: &Path) -> Result<Option<u64>> {
    let text = std::fs::read_to_string(out).map_err(Error::io(format!("reading {}", out.display())))?;
    Ok(total_in(&text))
}

/// The total of a file of callgrind's.
fn total_in(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_stands_in_the_file_of_callgrind() {
        assert_eq!(total_in("version: 1\nevents: Ir\n\nfn=x\n1 2\n\ntotals: 4711\n"), Some(4711));
        assert_eq!(total_in("version: 1\nevents: Ir\n"), None);
    }
}
