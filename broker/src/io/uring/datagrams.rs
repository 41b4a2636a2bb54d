//! Datagrams: one receive that goes on, each datagram in a buffer of its own behind its sender's address, and sends of which
//! nobody hears.
//!
//! ```text
//! | name 4 | control 4 | payload 4 | flags 4 | address 28 | datagram ... |
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use io_uring::{opcode, squeue, types};
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

use super::super::token::{self, Tag};
use crate::pool::{BufId, Piece, Pool};

/// Bytes of what the kernel writes in front of the address.
const PREFIX_BYTES: usize = 16;
/// Bytes of the longest address.
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// Where the datagram begins in its buffer.
const FRONT_BYTES: usize = PREFIX_BYTES + NAME_BYTES;

const _: () = assert!(NAME_BYTES == 28, "the picture says so");

/// One send. Boxed, so that the addresses the kernel was told stay where they are.
struct Slot {
    buf: Option<BufId>,
    to: SockaddrStorage,
    range: libc::iovec,
    message: libc::msghdr,
}

/// What the kernel is told of datagrams.
pub(super) struct Datagrams {
    /// How receives ask for the address; read by the kernel when one is handed over.
    asked: Box<libc::msghdr>,
    #[allow(clippy::vec_box, reason = "the kernel is told addresses inside a slot, so it may not move")]
    slots: Vec<Box<Slot>>,
    free: Vec<u32>,
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams").field("slots", &self.slots.len()).field("free", &self.free.len()).finish()
    }
}

fn no_message() -> libc::msghdr {
    // SAFETY: all zeros is a valid `msghdr`: null pointers and zero lengths.
    unsafe { std::mem::zeroed() }
}

impl Datagrams {
    pub(super) fn new() -> Self {
        let mut asked = Box::new(no_message());
        asked.msg_namelen = NAME_BYTES as libc::socklen_t;
        Self { asked, slots: Vec::new(), free: Vec::new() }
    }

    /// Describes a receive that goes on, into buffers of `group`.
    pub(super) fn receive(&self, descriptor: i32, listener: u16, group: u16) -> squeue::Entry {
        let receive = opcode::RecvMsgMulti::new(types::Fd(descriptor), &raw const *self.asked, group).build();
        receive.user_data(token::pack_slot(Tag::Datagrams, u32::from(listener)))
    }

    /// Takes a reference on the piece's buffer and describes the send to the kernel.
    pub(super) fn send(&mut self, descriptor: i32, to: SocketAddr, piece: Piece, pool: &mut Pool) -> squeue::Entry {
        let place = self.free.pop().unwrap_or_else(|| {
            let nowhere = SockaddrStorage::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
            let range = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            self.slots.push(Box::new(Slot { buf: None, to: nowhere, range, message: no_message() }));
            (self.slots.len() - 1) as u32
        });
        pool.retain(piece.buf);
        let slot = &mut *self.slots[place as usize];
        let bytes = pool.piece(piece);
        slot.buf = Some(piece.buf);
        slot.to = SockaddrStorage::from(to);
        slot.range = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        slot.message.msg_name = slot.to.as_ptr().cast_mut().cast();
        slot.message.msg_namelen = slot.to.len();
        slot.message.msg_iov = &raw mut slot.range;
        slot.message.msg_iovlen = 1;
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let send = opcode::SendMsg::new(types::Fd(descriptor), &raw const slot.message).flags(flags as u32).build();
        send.user_data(token::pack_slot(Tag::SendDatagram, place))
    }

    /// The kernel is done with a send: drops its reference.
    pub(super) fn finish(&mut self, place: u32, pool: &mut Pool) {
        let buf = self.slots[place as usize].buf.take();
        pool.release(buf.expect("a send ends once"));
        self.free.push(place);
    }

    /// Gives all memory up for good, because the kernel may still read it.
    pub(super) fn leak(&mut self) {
        for slot in self.slots.drain(..) {
            let _ = Box::leak(slot);
        }
        let _ = Box::leak(std::mem::replace(&mut self.asked, Box::new(no_message())));
    }
}

/// Who sent what the kernel wrote to a buffer, and where in it the datagram is: start and bytes. `None`: it did not fit, or the
/// address is of no kind that is known.
pub(super) fn parse(written: &[u8]) -> Option<(SocketAddr, u32, u32)> {
    let word = |at: usize| written.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let (name_bytes, payload_bytes, flags) = (word(0)?, word(8)?, word(12)?);
    let name = written.get(PREFIX_BYTES..FRONT_BYTES)?;
    if flags & libc::MSG_TRUNC as u32 != 0 || FRONT_BYTES + payload_bytes as usize > written.len() {
        return None;
    }
    let from = address(name.get(..(name_bytes as usize).min(NAME_BYTES))?)?;
    Some((from, FRONT_BYTES as u32, payload_bytes))
}

fn address(name: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*name.first_chunk()?));
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = *name.get(4..)?.first_chunk()?;
            Some((Ipv4Addr::from(ip), port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(*name.get(4..)?.first_chunk()?);
            let ip: [u8; 16] = *name.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &[u8], flags: i32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [name.len() as u32, 0, payload.len() as u32, flags as u32] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(name);
        bytes.resize(FRONT_BYTES, 0);
        [&bytes[..], payload].concat()
    }

    #[test]
    fn a_datagrams_sender_and_place_are_found_and_half_of_one_is_nothing() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend_from_slice(&[0x14, 0x8F, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let expected: SocketAddr = ([127, 0, 0, 1], 5263).into();
        assert_eq!(parse(&written(&v4, 0, b"abc")), Some((expected, 44, 3)));
        assert_eq!(parse(&written(&v4, libc::MSG_TRUNC, b"abc")), None);
        assert_eq!(parse(&written(&v4, 0, b"abc")[..46]), None);
        assert_eq!(parse(&written(&[1, 0, 0, 0], 0, b"abc")), None, "no address of a network");
        let mut v6 = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        v6.extend_from_slice(&[0x14, 0x8F, 0, 0, 0, 0]);
        v6.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        v6.extend_from_slice(&[0; 4]);
        assert_eq!(parse(&written(&v6, 0, b"")), Some(((Ipv6Addr::LOCALHOST, 5263).into(), 44, 0)));
    }
}
