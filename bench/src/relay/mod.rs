//! Baseline relays: the broker's job without the broker.
//!
//! All of them do the same: 4-byte little-endian length and payload over TCP; the first connection publishes, the
//! others subscribe; only whole frames are forwarded; at most 1 MiB waits for one subscriber, then the publisher is not
//! read. When the publisher leaves, what waits is delivered, everybody is disconnected, and the next connection
//! publishes.
//!
//! The runtimes share one design: a reader that cuts off whole frames as refcounted bytes, a queue for each subscriber,
//! a writer for each subscriber. The bare relays (`uring`, `index`) stand on the broker's own door to the kernel.

mod frames;
#[cfg(feature = "glommio")]
mod glommio;
mod index;
mod queue;
mod ring;
mod tokio;
#[cfg(feature = "tokio-uring")]
mod tokio_uring;
mod uring;

use std::io::Write as _;
use std::net::SocketAddr;

use crate::error::{Error, Result};

/// Bytes that may wait for one subscriber.
pub(crate) const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Bytes one receive may return.
pub(crate) const RECEIVE_BYTES: usize = 64 * 1024;

/// What a relay stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Base {
    /// The broker's own ring: the bare relay, the floor.
    Uring,
    /// tokio, one thread, epoll.
    Tokio,
    /// tokio-uring.
    TokioUring,
    /// glommio.
    Glommio,
}

impl Base {
    /// The name on the command line and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Tokio => "tokio",
            Self::TokioUring => "tokio-uring",
            Self::Glommio => "glommio",
        }
    }

    /// Whether this executable was built with it.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Uring | Self::Tokio => true,
            Self::TokioUring => cfg!(feature = "tokio-uring"),
            Self::Glommio => cfg!(feature = "glommio"),
        }
    }
}

/// What a relay does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Subscribers to wait for before the publisher is read; later ones join at the next frame.
    pub subscribers: usize,
    /// Each publisher has that many subscribers of its own, which connect after it; then the next one publishes.
    pub pairs: bool,
    /// The thread looks for work without ever sleeping.
    pub spin: bool,
}

/// Runs a relay until the process is ended.
pub fn serve(base: Base, index: bool, job: Job) -> Result<()> {
    if job.pairs && base != Base::Tokio {
        return Err(Error::Missing("pairs exist on the base 'tokio' only".into()));
    }
    if job.spin && base != Base::Uring {
        return Err(Error::Missing("only the base 'uring' can spin".into()));
    }
    match base {
        Base::Uring if index => index::serve(job),
        _ if index => Err(Error::Missing("the index relay exists on the base 'uring' only".into())),
        Base::Uring => uring::serve(job),
        Base::Tokio => tokio::serve(job),
        #[cfg(feature = "tokio-uring")]
        Base::TokioUring => tokio_uring::serve(job),
        #[cfg(feature = "glommio")]
        Base::Glommio => glommio::serve(job),
        #[cfg(not(all(feature = "tokio-uring", feature = "glommio")))]
        _ => Err(Error::Missing(format!("built without {}; build with '--features {0}'", base.name()))),
    }
}

/// Says where the relay listens, with the real port.
fn announce(address: SocketAddr) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening tcp://{address}").and_then(|()| stdout.flush()).map_err(Error::io("printing"))
}
