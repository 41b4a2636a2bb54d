//! `laneway serial doctor`: why a port does not work, or not as well as it could, and what to do.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getgroups};
use serde_json::{Value, json};
use serialport::SerialPort as _;

use super::{Port, System, open, print};
use crate::args::SerialDoctor;
use crate::failure::Failure;

/// Milliseconds for which an adapter may collect bytes without its being felt.
const LATENCY_MS_GOOD: u32 = 2;
/// Several boards take a port that is opened with this rate for the wish to be programmed.
const BAUD_TOUCH: u32 = 1_200;
const OWNER_BITS: u32 = 0o600;
const GROUP_BITS: u32 = 0o060;
const OTHER_BITS: u32 = 0o006;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
    remedy: Option<String>,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

fn good(what: &'static str, text: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Good, text: text.into(), remedy: None }
}

fn warning(what: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Warning, text: text.into(), remedy: Some(remedy.into()) }
}

fn bad(what: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what, verdict: Verdict::Bad, text: text.into(), remedy: Some(remedy.into()) }
}

pub(super) fn run(system: &System, args: &SerialDoctor) -> Result<(), Failure> {
    let findings = look(system, &args.port, args.baud);
    let worst = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    if args.json {
        let all: Vec<Value> = findings.iter().map(described).collect();
        print(&format!("{:#}\n", json!({ "port": args.port, "works": !worst, "findings": all })))?;
    } else {
        print(&findings.iter().map(line).collect::<String>())?;
    }
    if worst { Err(Failure::Failed(format!("{} does not work", args.port.display()))) } else { Ok(()) }
}

fn line(finding: &Finding) -> String {
    let Finding { what, verdict, text, remedy } = finding;
    let remedy = remedy.as_ref().map(|remedy| format!("\n         -> {remedy}")).unwrap_or_default();
    format!("{:<8} {what}: {text}{remedy}\n", verdict.name())
}

fn described(finding: &Finding) -> Value {
    let Finding { what, verdict, text, remedy } = finding;
    json!({ "what": what, "verdict": verdict.name(), "text": text, "remedy": remedy })
}

fn look(system: &System, path: &Path, baud: u32) -> Vec<Finding> {
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let remedy = "plug the device in; 'laneway serial list' shows those that are there";
            return vec![bad("port", "there is no such file", remedy)];
        }
        Err(error) => return vec![bad("port", error.to_string(), "name a file below /dev")],
    };
    if !meta.file_type().is_char_device() {
        return vec![bad("port", "it is no device", "'laneway serial list' shows the ports of this machine")];
    }
    let port = system.find(path);
    let mut findings = vec![name(path, &port), permissions(path, &meta)];
    findings.extend(modem_manager(system, &port));
    findings.extend(latency(&port));
    let usable = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
    if usable {
        findings.push(opening(system, path, baud));
    }
    findings
}

fn name(path: &Path, port: &Port) -> Finding {
    match &port.by_id {
        Some(by_id) if path != by_id => warning(
            "name",
            format!("{} may be another device after the next start", path.display()),
            format!("use serial://{}", by_id.display()),
        ),
        Some(_) | None => good("name", path.display().to_string()),
    }
}

/// Whether we may read and write it.
fn permissions(path: &Path, meta: &Metadata) -> Finding {
    let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
    let has = |bits: u32| mode & bits == bits;
    let groups = getgroups().unwrap_or_default();
    let ours = groups.contains(&Gid::from_raw(gid)) || Gid::effective() == Gid::from_raw(gid);
    let me = Uid::effective();
    let may = if me.is_root() {
        true
    } else if me == Uid::from_raw(uid) {
        has(OWNER_BITS)
    } else if ours {
        has(GROUP_BITS)
    } else {
        has(OTHER_BITS)
    };
    let user = User::from_uid(me).ok().flatten().map_or_else(|| me.to_string(), |user| user.name);
    if may {
        return good("permissions", format!("{user} may read and write it"));
    }
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    let remedy = if has(GROUP_BITS) && gid != 0 {
        format!("sudo usermod -aG {group} {user}, then log in again")
    } else {
        format!(
            "sudo chmod a+rw {} until it is unplugged, or a udev rule with MODE=\"0660\", GROUP=\"dialout\"",
            path.display()
        )
    };
    bad("permissions", format!("{user} may not read and write it"), remedy)
}

/// It asks whatever is plugged in whether it is a modem, and disturbs it by that.
fn modem_manager(system: &System, port: &Port) -> Option<Finding> {
    let usb = port.usb.as_ref()?;
    let running = !system.processes(|_, name| name == "ModemManager").is_empty();
    if !running {
        return Some(good("ModemManager", "does not run"));
    }
    let remedy = format!(
        "in /etc/udev/rules.d/99-laneway.rules: ATTRS{{idVendor}}==\"{}\", ATTRS{{idProduct}}==\"{}\", \
         ENV{{ID_MM_DEVICE_IGNORE}}=\"1\"; then sudo udevadm control --reload, and plug it in again",
        usb.vendor, usb.product
    );
    Some(warning("ModemManager", "runs, and may send AT commands to the device when it is plugged in", remedy))
}

fn latency(port: &Port) -> Option<Finding> {
    let (latency_ms, path) = (port.latency_ms?, port.latency_path.as_ref()?);
    if latency_ms <= LATENCY_MS_GOOD {
        return Some(good("latency timer", format!("{latency_ms} ms")));
    }
    let text = format!("the adapter collects bytes for {latency_ms} ms before it passes them on");
    Some(warning("latency timer", text, format!("echo 1 | sudo tee {}", path.display())))
}

/// Whether it can be opened, and takes the rate.
fn opening(system: &System, path: &Path, baud: u32) -> Finding {
    if baud == BAUD_TOUCH {
        return bad("baud", "1200 makes several boards wait for a new program", "use another rate");
    }
    match open(path, baud) {
        Ok(port) => match port.baud_rate() {
            Ok(set) if set.abs_diff(baud) <= baud / 50 => good("baud", format!("it takes {baud} bits per second")),
            Ok(set) => bad("baud", format!("it runs at {set} instead of {baud} bits per second"), "use that rate"),
            Err(error) => warning("baud", error.to_string(), "see whether both ends are set to the same rate"),
        },
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            let holders = system.holders(path);
            let list: Vec<String> = holders.iter().map(|(pid, name)| format!("{name} ({pid})")).collect();
            let who = if list.is_empty() { "another process".into() } else { list.join(", ") };
            bad("open", format!("{who} has it"), "end it, or ask it: 'laneway stats port.' if it is lanewayd")
        }
        Err(error) => {
            bad("open", error.to_string(), format!("see 'dmesg' and whether it takes {baud} bits per second"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_makes_an_adapter_slow_or_disturbs_it_is_told_with_what_to_do() {
        let system = sample();
        let port = &system.ports()[1];
        let slow = latency(port).expect("it has one");
        assert_eq!(slow.verdict, Verdict::Warning);
        assert!(slow.remedy.is_some_and(|remedy| remedy.contains("latency_timer")));
        let manager = modem_manager(&system, port).expect("it is plugged in");
        assert!(manager.remedy.is_some_and(|remedy| remedy.contains("\"0403\"")));
        let path = system.dev.join("ttyUSB0");
        assert_eq!(name(&path, port).verdict, Verdict::Warning);
        assert_eq!(modem_manager(&system, &system.ports()[0]), None);
    }

    #[test]
    fn what_is_no_port_is_told() {
        let system = sample();
        for path in [system.dev.join("ttyUSB0"), system.dev.join("ttyUSB9")] {
            let findings = look(&system, &path, 115_200);
            assert_eq!((findings.len(), findings[0].verdict), (1, Verdict::Bad));
        }
    }
}
