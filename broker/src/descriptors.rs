//! File descriptors: how many the process may have, and what to change when they run out.

use std::fs::File;
use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors the broker itself needs besides connections: rings, listeners, logs, wake-ups.
pub const OWN: u64 = 64;
/// A limit that is enough for most brokers.
const ENOUGH: u64 = 65_536;

/// Raises the process's limit to `wanted` as far as that is allowed; the limit then, or `None` if the system does not say.
pub fn raise_limit(wanted: u64) -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let reachable = wanted.min(hard);
    let raised = soft < reachable && setrlimit(Resource::RLIMIT_NOFILE, reachable, hard).is_ok();
    Some(if raised { reachable } else { soft })
}

/// Names the limit that an error tells of and what raises it; `None` if the error is another one.
pub fn remedy(error: &io::Error) -> Option<String> {
    match error.raw_os_error()? {
        libc::EMFILE => {
            let limit =
                getrlimit(Resource::RLIMIT_NOFILE).map_or_else(|_| "a few".into(), |(soft, _)| soft.to_string());
            Some(format!(
                "this process may have {limit} file descriptors. Raise the limit: ulimit -n {ENOUGH}, or \
                 LimitNOFILE={ENOUGH} in the service unit"
            ))
        }
        libc::ENFILE => Some(
            "the whole system has as many files open as it may (fs.file-max). As root, raise it: sysctl \
             fs.file-max=NUMBER; or lower what others may open (ulimit -n, LimitNOFILE=)"
                .into(),
        ),
        _ => None,
    }
}

/// The same for an error that may hide the system's own, as that of a name's lookup does: whether descriptors have run out
/// is tried.
pub fn remedy_if_out(error: &io::Error) -> Option<String> {
    remedy(error).or_else(|| File::open("/dev/null").err().and_then(|hidden| remedy(&hidden)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_out_is_named_with_what_raises_it_and_nothing_else_is() {
        let of = |errno| remedy(&io::Error::from_raw_os_error(errno));
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        let process = of(libc::EMFILE).expect("a remedy");
        for word in [soft.to_string().as_str(), "ulimit -n", "LimitNOFILE="] {
            assert!(process.contains(word), "'{word}' is missing in: {process}");
        }
        let system = of(libc::ENFILE).expect("a remedy");
        for word in ["fs.file-max", "sysctl", "ulimit -n", "LimitNOFILE="] {
            assert!(system.contains(word), "'{word}' is missing in: {system}");
        }
        assert_eq!(of(libc::EACCES), None);
        assert_eq!(remedy_if_out(&io::Error::other("a name is not known")), None, "there are descriptors here");
    }
}
