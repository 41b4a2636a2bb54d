//! Opening a ring: what the kernel must offer, what it may offer, and what to change when it does not.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use io_uring::{IoUring, Probe, opcode};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::descriptors;

/// Operations handed over at once.
pub const SUBMISSIONS: u32 = 512;
/// Completions the kernel can queue before it has to buffer them elsewhere.
pub const COMPLETIONS: u32 = 4_096;
/// Oldest kernel with multishot receive into provided buffer rings.
pub const KERNEL_MIN: (u32, u32) = (6, 0);

/// What the kernel offers beyond the minimum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Completions are posted only when the shard asks: the fastest mode.
    pub deferred: bool,
    /// Completions do not interrupt the running thread.
    pub cooperative: bool,
    /// Shards wake each other through their rings.
    pub message_ring: bool,
    /// A sleeping shard is not accounted as waiting for a disk (Linux 6.15).
    pub no_iowait: bool,
}

/// Flags of `io_uring_enter`, from the kernel's interface.
const ENTER_GETEVENTS: u32 = 1 << 0;
/// The last argument is a structure with a timeout.
pub(super) const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_NO_IOWAIT: u32 = 1 << 7;

/// Flags for waiting.
pub(super) const fn wait_flags(features: &Features) -> u32 {
    if features.no_iowait { ENTER_GETEVENTS | ENTER_NO_IOWAIT } else { ENTER_GETEVENTS }
}

/// Why a ring could not be opened; one paragraph that says what is blocked, by what, and what to change.
#[derive(Debug)]
pub struct SetupError {
    text: String,
}

impl SetupError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    pub(super) fn out_of_memory() -> Self {
        Self::new("no memory for the ring of receive buffers; lower pools.ingress_buffers_max or free memory")
    }

    pub(super) fn buffer_ring(error: &io::Error) -> Self {
        Self::new(format!(
            "the kernel refused a provided-buffer ring ({error}); lanewayd needs Linux {}.{} or newer, this is {}. \
             Boot a newer kernel, or raise the locked-memory limit (ulimit -l, LimitMEMLOCK=) if the error says so.",
            KERNEL_MIN.0,
            KERNEL_MIN.1,
            kernel_release()
        ))
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for SetupError {}

/// Opens a ring in the best mode this kernel accepts.
pub fn ring() -> Result<(IoUring, Features), SetupError> {
    let release = kernel_release();
    if parse_release(&release).is_some_and(|version| version < KERNEL_MIN) {
        return Err(SetupError::new(format!(
            "this kernel is Linux {release}, but lanewayd needs {}.{} or newer for multishot receive with io_uring. \
             Boot a newer kernel.",
            KERNEL_MIN.0, KERNEL_MIN.1
        )));
    }
    let (ring, mut features) = open_best().map_err(|error| explain(&error, &release))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error, &release))?;
    let needed = [
        ("accept", opcode::AcceptMulti::CODE),
        ("receive", opcode::RecvMulti::CODE),
        ("send", opcode::Send::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("poll", opcode::PollAdd::CODE),
        ("cancel", opcode::AsyncCancel::CODE),
        ("close", opcode::Close::CODE),
    ];
    let missing: Vec<&str> =
        needed.iter().filter(|(_, code)| !probe.is_supported(*code)).map(|&(name, _)| name).collect();
    if !missing.is_empty() {
        return Err(SetupError::new(format!(
            "io_uring works but lacks the operations {}; a kernel older than {}.{} or a restricting security module \
             does that. Boot a newer kernel or lift the restriction.",
            missing.join(", "),
            KERNEL_MIN.0,
            KERNEL_MIN.1
        )));
    }
    features.message_ring = probe.is_supported(opcode::MsgRingData::CODE);
    // SAFETY: submits nothing, waits for nothing and passes no argument; an unknown flag is refused.
    let tried = unsafe { ring.submitter().enter::<libc::sigset_t>(0, 0, ENTER_GETEVENTS | ENTER_NO_IOWAIT, None) };
    features.no_iowait = tried.is_ok();
    Ok((ring, features))
}

fn open_best() -> io::Result<(IoUring, Features)> {
    let mut best = IoUring::builder();
    best.setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().setup_taskrun_flag();
    best.setup_submit_all().setup_cqsize(COMPLETIONS);
    if let Ok(ring) = best.build(SUBMISSIONS) {
        return Ok((ring, Features { deferred: true, cooperative: true, message_ring: false, no_iowait: false }));
    }
    let mut cooperative = IoUring::builder();
    cooperative.setup_coop_taskrun().setup_taskrun_flag().setup_cqsize(COMPLETIONS);
    if let Ok(ring) = cooperative.build(SUBMISSIONS) {
        return Ok((ring, Features { deferred: false, cooperative: true, message_ring: false, no_iowait: false }));
    }
    let ring = IoUring::builder().setup_cqsize(COMPLETIONS).build(SUBMISSIONS)?;
    Ok((ring, Features { deferred: false, cooperative: false, message_ring: false, no_iowait: false }))
}

fn explain(error: &io::Error, release: &str) -> SetupError {
    if let Some(remedy) = descriptors::remedy(error) {
        return SetupError::new(format!("no file descriptor was left for io_uring: {error}; {remedy}"));
    }
    let seccomp = seccomp_filters();
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let text = match (error.raw_os_error(), disabled.trim()) {
        (Some(libc::EPERM | libc::EACCES), "2") => {
            "io_uring is switched off on this machine (kernel.io_uring_disabled \
             is 2). As root: sysctl kernel.io_uring_disabled=0"
                .to_owned()
        }
        (Some(libc::EPERM | libc::EACCES), "1") => "io_uring is reserved for one group on this machine \
             (kernel.io_uring_disabled is 1). Add lanewayd's user to the group in kernel.io_uring_group, or as root: \
             sysctl kernel.io_uring_disabled=0"
            .to_owned(),
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) if seccomp => format!(
            "io_uring_setup was blocked ({error}) by a seccomp filter on this process, as container runtimes install \
             by default. Allow the system calls io_uring_setup, io_uring_enter and io_uring_register in the seccomp \
             profile (docker: --security-opt seccomp=profile.json; systemd: SystemCallFilter=)."
        ),
        (Some(libc::ENOSYS), _) => format!(
            "this kernel ({release}) was built without io_uring. Boot a kernel with CONFIG_IO_URING=y, version {}.{} \
             or newer.",
            KERNEL_MIN.0, KERNEL_MIN.1
        ),
        (Some(libc::ENOMEM), _) => format!(
            "the kernel had no memory to lock for io_uring ({error}). Raise the locked-memory limit: ulimit -l \
             unlimited, or LimitMEMLOCK=infinity in the service unit."
        ),
        (Some(_) | None, _) => format!(
            "io_uring could not be set up ({error}) on Linux {release}. Check that nothing restricts io_uring for this \
             process: seccomp, a security module, kernel.io_uring_disabled."
        ),
    };
    SetupError::new(text)
}

fn seccomp_filters() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// The running kernel's version text.
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn event_descriptor() -> io::Result<OwnedFd> {
    let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    Ok(OwnedFd::from(event))
}

pub(super) fn signal_event(event: &OwnedFd) {
    // A full counter means that the wake-up is already pending.
    let _ = nix::unistd::write(event, &1u64.to_ne_bytes());
}

pub(super) fn drain_event(event: &OwnedFd) {
    let mut count = [0; 8];
    let _ = nix::unistd::read(event, &mut count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_as_numbers() {
        assert_eq!(parse_release("6.18.44-generic"), Some((6, 18)));
        assert_eq!(parse_release("5.4.0"), Some((5, 4)));
        assert!(parse_release("5.19.17").is_some_and(|version| version < KERNEL_MIN));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn a_refused_ring_names_the_cause_and_the_remedy() {
        let text = |errno| explain(&io::Error::from_raw_os_error(errno), "6.1.0").to_string();
        assert!(text(libc::ENOMEM).contains("ulimit -l"));
        assert!(text(libc::EMFILE).contains("ulimit -n"));
        assert!(text(libc::EINVAL).contains("seccomp"));
    }
}
