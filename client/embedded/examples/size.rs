//! Everything the library has, in its default configuration, as `size.sh` measures it.
#![cfg_attr(target_os = "none", no_std)]
#![allow(missing_docs, reason = "only its size matters")]

use core::mem::MaybeUninit;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use laneway_embedded::{Code, Config, Device, Event, Lane, Memory, Refused, Subscription, Topic};

/// A port as drivers have it.
pub struct Port(pub fn(&mut [u8]) -> usize, pub fn(&[u8]) -> usize, pub fn() -> bool);

impl ErrorType for Port {
    type Error = ErrorKind;
}

impl Read for Port {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok((self.0)(bytes))
    }
}

impl ReadReady for Port {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok((self.2)())
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        Ok((self.1)(bytes))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl WriteReady for Port {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok((self.2)())
    }
}

pub static MEMORY: Memory = Memory::new();
pub static DEVICE: MaybeUninit<Device<'static>> = MaybeUninit::uninit();

pub fn new(memory: &'static mut Memory, config: &'static Config) -> Device<'static> {
    Device::new(memory, config, 1)
}

pub fn connect(device: &mut Device<'static>) -> Option<Topic> {
    device.connect(0);
    device.subscribe("tank/valve", &Subscription::PLAIN)?;
    device.topic("tank/level", true)
}

pub fn publish(device: &mut Device<'static>, topic: Topic, lane: Lane) -> Result<(), Refused> {
    device.publish_at(topic, lane, b"21.5", 0)?;
    device.publish(topic, lane, b"21.5")
}

pub fn leave(device: &mut Device<'static>, topic: Topic) {
    device.unsubscribe(topic);
    device.grant(Lane::COMMAND, 1);
    device.disconnect(Code::SHUTDOWN);
}

pub fn turn(device: &mut Device<'static>, port: &mut Port, on_event: fn(&Event<'_>)) -> Result<u32, ErrorKind> {
    device.service(port, 0, |_, event| on_event(&event))
}
