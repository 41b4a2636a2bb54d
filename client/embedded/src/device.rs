//! The device: what the application holds.

use core::ops::{Deref, DerefMut};

use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::cobs::{Decoded, Decoder};
use crate::config::Config;
use crate::event::Event;
use crate::limits::{LEAD_US, POLL_US_MAX};
use crate::memory::SizedMemory;
use crate::node::{Node, Tell};

/// A device at the end of a serial line. Everything happens in its calls: [`Self::service`] reads and writes a port, or
/// [`Self::receive`] takes bytes that came and [`Self::poll`] hands over those that go.
///
/// Times are microseconds of a clock of 32 bits that wraps.
#[derive(Debug)]
pub struct Device<'d> {
    node: Node<'d>,
    decoder: Decoder,
    buffer: &'d mut [u8],
}

impl<'d> Deref for Device<'d> {
    type Target = Node<'d>;

    fn deref(&self) -> &Self::Target {
        &self.node
    }
}

impl DerefMut for Device<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.node
    }
}

impl<'d> Device<'d> {
    /// A device that is silent until it is told to connect. `entropy` differs from start to start: a hardware random
    /// number, or a counter in memory that survives a reset, mixed with the chip's serial number. A host that sees the old
    /// one again takes the device for the one it knows, and the numbers do not fit.
    pub fn new<
        const MESSAGE: usize,
        const WINDOW: usize,
        const TOPICS: usize,
        const LANES: usize,
        const FRAME: usize,
    >(
        memory: &'d mut SizedMemory<MESSAGE, WINDOW, TOPICS, LANES, FRAME>,
        config: &'d Config,
        entropy: u32,
    ) -> Self {
        let SizedMemory { lanes, slots, data, topics, transmit, receive } = memory;
        let data = data.as_flattened_mut().as_flattened_mut();
        let slots = slots.as_flattened_mut();
        let node = Node::new(config, entropy, lanes, slots, data, topics, transmit, (WINDOW, MESSAGE));
        Self { node, decoder: Decoder::default(), buffer: receive }
    }

    /// Takes bytes that came from the line.
    pub fn receive<F: FnMut(&mut Node<'d>, Event<'_>)>(&mut self, now: u32, bytes: &[u8], mut on_event: F) {
        self.take(now, bytes, &mut Tell(&mut on_event));
    }

    fn take(&mut self, now: u32, bytes: &[u8], on_event: &mut Tell<'_, 'd>) {
        self.node.now = now;
        for byte in bytes {
            match self.decoder.push(*byte, self.buffer) {
                Decoded::Nothing => {}
                Decoded::Frame(bytes) => self.node.on_frame(self.buffer.get(..bytes).unwrap_or_default(), on_event),
                Decoded::Bad => self.node.on_bad(),
            }
        }
    }

    /// Does what is due. `write` takes bytes for the line, as many as the port has room for, and says how many it took; 0:
    /// none now. Returns the microseconds after which it must be called again if nothing is received or published before:
    /// 100,000 at most.
    pub fn poll<W: FnMut(&[u8]) -> usize, F: FnMut(&mut Node<'d>, Event<'_>)>(
        &mut self,
        now: u32,
        mut write: W,
        mut on_event: F,
    ) -> u32 {
        self.node.poll(now, &mut write, &mut Tell(&mut on_event))
    }

    /// Reads what the port has, does what is due and writes what the port takes, without waiting for it. Returns the
    /// microseconds after which it must be called again, as [`Self::poll`] does.
    ///
    /// # Errors
    /// What the port says. The link heals by itself: call again.
    pub fn service<P, F>(&mut self, port: &mut P, now: u32, mut on_event: F) -> Result<u32, P::Error>
    where
        P: Read + ReadReady + Write + WriteReady,
        F: FnMut(&mut Node<'d>, Event<'_>),
    {
        let mut bytes = [0; 32];
        while port.read_ready()? {
            let count = port.read(&mut bytes)?;
            if count == 0 {
                break;
            }
            self.take(now, bytes.get(..count).unwrap_or_default(), &mut Tell(&mut on_event));
        }
        let mut failure = None;
        let mut write =
            |bytes: &[u8]| match port.write_ready().and_then(|ready| if ready { port.write(bytes) } else { Ok(0) }) {
                Ok(count) => count,
                Err(error) => {
                    failure = Some(error);
                    0
                }
            };
        let sleep = self.node.poll(now, &mut write, &mut Tell(&mut on_event));
        failure.map_or(Ok(sleep), Err)
    }
}

impl<'d> Node<'d> {
    fn poll(&mut self, now: u32, write: &mut dyn FnMut(&[u8]) -> usize, on_event: &mut Tell<'_, 'd>) -> u32 {
        (self.now, self.sleep) = (now, POLL_US_MAX);
        self.watch(on_event);
        loop {
            let rest = self.transmit.get(self.transmit_at..self.transmit_end).unwrap_or_default();
            if !rest.is_empty() {
                self.transmit_at += write(rest).min(rest.len());
                if self.transmit_at < self.transmit_end {
                    // The port is full. It is asked again when a byte has left.
                    self.sleep = self.sleep.min((self.byte_us16 >> 4).max(100));
                    break;
                }
            }
            if !self.is_due(self.free_at.wrapping_sub(LEAD_US)) || !self.next_frame(on_event) {
                break;
            }
        }
        self.sleep
    }
}
