//! Reaching the broker: which URL, and for how long to try.

use std::hash::{BuildHasher as _, RandomState};
use std::thread::sleep;
use std::time::{Duration, Instant};

use laneway_client::{ConnectError, ConnectOptions, Retry, UrlError};

use crate::args::Link;
use crate::failure::Failure;

/// The last of the default URLs.
const TCP_DEFAULT: &str = "tcp://127.0.0.1:5263";

/// Dials until somebody answers, the time given by `--wait` is over, or trying again is of no use.
pub(crate) fn reach<C>(
    link: &Link,
    options: &ConnectOptions,
    mut dial: impl FnMut(&ConnectOptions, &str) -> Result<C, ConnectError>,
) -> Result<C, Failure> {
    let urls = urls(link);
    let retry = Retry::new()
        .waits(Duration::from_millis(50), Duration::from_millis(500))
        .elapsed_max(link.wait.unwrap_or_default());
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let error = match try_each(&urls, |url| dial(options, url)) {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        failures += 1;
        let random = RandomState::new().hash_one(failures);
        match retry.wait(failures, started.elapsed(), random) {
            Some(wait) if error.last.retryable() => sleep(wait),
            Some(_) | None => return Err(error.failure()),
        }
    }
}

/// What came of trying all URLs once.
struct Tried {
    last: ConnectError,
    /// The failures before the last one.
    before: Vec<String>,
}

impl Tried {
    fn failure(self) -> Failure {
        let reason = [&self.before[..], &[self.last.to_string()]].concat().join("\nlaneway: ");
        if let ConnectError::Url(_) = self.last { Failure::Usage(reason) } else { Failure::Failed(reason) }
    }
}

fn try_each<C>(urls: &[String], mut dial: impl FnMut(&str) -> Result<C, ConnectError>) -> Result<C, Tried> {
    let mut before = Vec::new();
    let mut last = ConnectError::Url(UrlError::NoHost);
    for (place, url) in urls.iter().enumerate() {
        if place > 0 {
            before.push(last.to_string());
        }
        match dial(url) {
            Ok(client) => return Ok(client),
            Err(error) => last = error,
        }
        // A broker that answers, even with a no, is the one that was meant.
        if !matches!(last, ConnectError::Refused { .. }) {
            break;
        }
    }
    Err(Tried { last, before })
}

fn urls(link: &Link) -> Vec<String> {
    match link.url.as_deref() {
        Some(url) if !url.is_empty() => vec![url.into()],
        Some(_) | None => [unix_default(), Some(TCP_DEFAULT.into())].into_iter().flatten().collect(),
    }
}

/// Where a broker of this user listens.
#[cfg(unix)]
fn unix_default() -> Option<String> {
    let path = match std::env::var("XDG_RUNTIME_DIR") {
        Ok(dir) if dir.starts_with('/') => format!("{}/laneway.sock", dir.trim_end_matches('/')),
        Ok(_) | Err(_) => format!("/tmp/laneway-{}.sock", nix::unistd::getuid()),
    };
    Some(format!("unix://{path}"))
}

#[cfg(not(unix))]
fn unix_default() -> Option<String> {
    None
}
