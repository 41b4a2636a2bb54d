//! What the system knows of its serial ports: `/sys` and `/dev`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where to look; other roots in tests.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// `/sys`.
    pub(crate) sys: PathBuf,
    /// `/dev`.
    pub(crate) dev: PathBuf,
    /// `/proc`.
    pub(crate) proc: PathBuf,
}

/// The device behind a port that is plugged in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usb {
    /// Four hexadecimal digits.
    pub(crate) vendor: String,
    /// The same.
    pub(crate) product: String,
    pub(crate) serial: Option<String>,
    /// Which of the device's functions it is.
    pub(crate) interface: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) name: Option<String>,
}

/// A serial port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    /// `/dev/ttyACM0`.
    pub(crate) path: PathBuf,
    /// The name that stays the same wherever it is plugged in.
    pub(crate) by_id: Option<PathBuf>,
    pub(crate) driver: Option<String>,
    pub(crate) usb: Option<Usb>,
    /// Milliseconds for which the adapter collects bytes.
    pub(crate) latency_ms: Option<u32>,
    /// Where that is set.
    pub(crate) latency_path: Option<PathBuf>,
}

impl Default for System {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into(), proc: "/proc".into() }
    }
}

fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What is in a folder, in order; nothing if it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl System {
    /// All ports with hardware behind them, in the order of their names.
    pub(crate) fn ports(&self) -> Vec<Port> {
        let terminals = entries(&self.sys.join("class/tty"));
        terminals.iter().filter(|tty| self.is_real(tty)).map(|tty| self.port(tty)).collect()
    }

    /// The port that a path leads to; a path that leads nowhere known is a port of which nothing is known.
    pub(crate) fn find(&self, path: &Path) -> Port {
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.port(&self.sys.join("class/tty").join(name(&real)))
    }

    /// Terminals without a device are none, and of the built-in ports many are not there: those have type 0.
    fn is_real(&self, tty: &Path) -> bool {
        tty.join("device").exists() && read(&tty.join("type")).as_deref() != Some("0")
    }

    fn port(&self, tty: &Path) -> Port {
        let path = self.dev.join(name(tty));
        let device = fs::canonicalize(tty.join("device")).ok();
        let driver = device.as_ref().and_then(|device| fs::canonicalize(device.join("driver")).ok());
        let latency_path = device.as_ref().map(|device| device.join("latency_timer")).filter(|path| path.exists());
        Port {
            by_id: self.by_id(&path),
            driver: driver.map(|driver| name(&driver)),
            usb: device.as_deref().and_then(|device| self.usb(device)),
            latency_ms: latency_path.as_ref().and_then(|path| read(path)?.parse().ok()),
            latency_path,
            path,
        }
    }

    fn by_id(&self, path: &Path) -> Option<PathBuf> {
        let real = fs::canonicalize(path).ok()?;
        let links = entries(&self.dev.join("serial/by-id"));
        links.into_iter().find(|link| fs::canonicalize(link).is_ok_and(|target| target == real))
    }

    /// The USB device is some folders further up, and its interface between.
    fn usb(&self, device: &Path) -> Option<Usb> {
        let root = fs::canonicalize(&self.sys).ok()?;
        let mut interface = None;
        for folder in device.ancestors().take_while(|folder| folder.starts_with(&root)) {
            interface = interface.or_else(|| read(&folder.join("bInterfaceNumber")));
            let (Some(vendor), Some(product)) = (read(&folder.join("idVendor")), read(&folder.join("idProduct")))
            else {
                continue;
            };
            return Some(Usb {
                vendor,
                product,
                serial: read(&folder.join("serial")),
                interface,
                manufacturer: read(&folder.join("manufacturer")),
                name: read(&folder.join("product")),
            });
        }
        None
    }

    /// Processes of a name, and those that have a file open, as far as we may look: number and name.
    pub(crate) fn processes(&self, wanted: impl Fn(&Path, &str) -> bool) -> Vec<(u32, String)> {
        let folders = entries(&self.proc).into_iter().filter_map(|folder| Some((name(&folder).parse().ok()?, folder)));
        let named =
            folders.map(|(pid, folder): (u32, PathBuf)| (pid, read(&folder.join("comm")).unwrap_or_default(), folder));
        named.filter(|(_, name, folder)| wanted(folder, name)).map(|(pid, name, _)| (pid, name)).collect()
    }

    /// Who has the port open.
    pub(crate) fn holders(&self, path: &Path) -> Vec<(u32, String)> {
        let Ok(real) = fs::canonicalize(path) else { return Vec::new() };
        self.processes(|folder, _| {
            entries(&folder.join("fd")).iter().any(|open| fs::read_link(open).is_ok_and(|target| target == real))
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A system with a plugged-in adapter `ttyUSB0`, a built-in port, and one that is not there.
    pub(crate) fn sample() -> System {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("laneway-serial-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        let usb = "sys/devices/usb1/1-2";
        put(&format!("{usb}/idVendor"), "0403\n");
        put(&format!("{usb}/idProduct"), "6001\n");
        put(&format!("{usb}/serial"), "A50285BI\n");
        put(&format!("{usb}/product"), "FT232R USB UART\n");
        put(&format!("{usb}/1-2:1.0/bInterfaceNumber"), "00\n");
        put(&format!("{usb}/1-2:1.0/ttyUSB0/latency_timer"), "16\n");
        put("sys/bus/usb-serial/drivers/ftdi_sio/bind", "");
        put("sys/devices/pnp/ttyS0-device/x", "");
        put("sys/class/tty/ttyS0/type", "4\n");
        put("sys/class/tty/ttyS1/type", "0\n");
        put("sys/class/tty/ttyUSB0/x", "");
        put("sys/class/tty/ptmx/x", "");
        put("dev/ttyUSB0", "");
        put("dev/serial/by-id/x", "");
        put("proc/17/comm", "ModemManager\n");
        put("proc/self/comm", "x\n");
        put("proc/18/comm", "screen\n");
        put("proc/18/fd/x", "");
        let link = |target: &str, path: &str| symlink(root.join(target), root.join(path)).expect("linked");
        link(&format!("{usb}/1-2:1.0/ttyUSB0"), "sys/class/tty/ttyUSB0/device");
        link("sys/bus/usb-serial/drivers/ftdi_sio", &format!("{usb}/1-2:1.0/ttyUSB0/driver"));
        link("sys/devices/pnp/ttyS0-device", "sys/class/tty/ttyS0/device");
        link("sys/devices/pnp/ttyS0-device", "sys/class/tty/ttyS1/device");
        link("dev/ttyUSB0", "dev/serial/by-id/usb-FTDI-if00");
        link("dev/ttyUSB0", "proc/18/fd/5");
        let root = fs::canonicalize(root).expect("there");
        System { sys: root.join("sys"), dev: root.join("dev"), proc: root.join("proc") }
    }

    #[test]
    fn ports_with_hardware_are_found_with_the_identity_of_what_is_plugged_in() {
        let system = sample();
        let ports = system.ports();
        let names: Vec<String> = ports.iter().map(|port| name(&port.path)).collect();
        assert_eq!(names, ["ttyS0", "ttyUSB0"]);
        assert_eq!((ports[0].usb.as_ref(), ports[0].latency_ms), (None, None));
        let usb = Usb {
            vendor: "0403".into(),
            product: "6001".into(),
            serial: Some("A50285BI".into()),
            interface: Some("00".into()),
            manufacturer: None,
            name: Some("FT232R USB UART".into()),
        };
        assert_eq!(ports[1].usb.as_ref(), Some(&usb));
        assert_eq!((ports[1].driver.as_deref(), ports[1].latency_ms), (Some("ftdi_sio"), Some(16)));
        let by_id = system.dev.join("serial/by-id/usb-FTDI-if00");
        assert_eq!(ports[1].by_id.as_ref(), Some(&by_id));
        assert_eq!(system.find(&by_id), ports[1], "by either name");
    }

    #[test]
    fn who_has_a_port_open_is_found() {
        let system = sample();
        assert_eq!(system.holders(&system.dev.join("ttyUSB0")), [(18, "screen".into())]);
        assert_eq!(system.processes(|_, name| name == "ModemManager"), [(17, "ModemManager".into())]);
    }
}
