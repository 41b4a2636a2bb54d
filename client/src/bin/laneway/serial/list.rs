//! `laneway serial list`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Port, System, print};
use crate::args::SerialList;
use crate::failure::Failure;

pub(super) fn run(system: &System, args: &SerialList) -> Result<(), Failure> {
    let ports = system.ports();
    if args.json {
        let all: Vec<Value> = ports.iter().map(described).collect();
        return print(&format!("{:#}\n", Value::from(all)));
    }
    if ports.is_empty() {
        return print("no serial ports; plug a device in, or see 'dmesg' for why it was not taken\n");
    }
    print(&ports.iter().map(line).collect::<String>())
}

fn line(port: &Port) -> String {
    let mut line = port.path.display().to_string();
    let mut add = |text: &str| {
        let _ = write!(line, "  {text}");
    };
    if let Some(usb) = &port.usb {
        add(&format!("{}:{}", usb.vendor, usb.product));
        for text in [&usb.manufacturer, &usb.name].into_iter().flatten() {
            add(text);
        }
        if let Some(serial) = &usb.serial {
            add(&format!("serial {serial}"));
        }
        if let Some(interface) = &usb.interface {
            add(&format!("interface {interface}"));
        }
    }
    if let Some(driver) = &port.driver {
        add(&format!("({driver})"));
    }
    if let Some(by_id) = &port.by_id {
        let _ = write!(line, "\n    serial://{}", by_id.display());
    }
    line + "\n"
}

fn described(port: &Port) -> Value {
    let usb = port.usb.as_ref().map(|usb| {
        json!({
            "vendor": usb.vendor,
            "product": usb.product,
            "serial": usb.serial,
            "interface": usb.interface,
            "manufacturer": usb.manufacturer,
            "name": usb.name,
        })
    });
    json!({
        "path": port.path,
        "by_id": port.by_id,
        "driver": port.driver,
        "usb": usb,
        "latency_ms": port.latency_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_port_is_shown_with_its_identity_and_the_name_that_stays() {
        let system = sample();
        let dev = system.dev.display();
        let text: String = system.ports().iter().map(line).collect();
        let wanted = format!(
            "{dev}/ttyS0\n{dev}/ttyUSB0  0403:6001  FT232R USB UART  serial A50285BI  interface 00  (ftdi_sio)\n    \
             serial://{dev}/serial/by-id/usb-FTDI-if00\n"
        );
        assert_eq!(text, wanted);
        assert_eq!(described(&system.ports()[1])["usb"]["vendor"], "0403");
        assert_eq!(described(&system.ports()[0])["usb"], Value::Null);
    }
}
