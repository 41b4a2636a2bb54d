//! Everything the library has, in its default configuration, as `size.sh` measures it.
#![cfg_attr(target_os = "none", no_std)]
#![allow(missing_docs, reason = "only its size matters")]

use core::mem::MaybeUninit;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use laneway_embedded::{Config, Device, Event, Memory, Node};

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

/// What is generated for an application, beside the library's own code.
pub type OnEvent = fn(&mut Node<'static>, Event<'_>);
pub static NEW: fn(&'static mut Memory, &'static Config, u32) -> Device<'static> = Device::new;
pub static SERVICE: fn(&mut Device<'static>, &mut Port, u32, OnEvent) -> Result<u32, ErrorKind> = Device::service;
