//! The name of a topic on its way with a frame: XHDR type 0x01.

use alloc::vec::Vec;

use crate::frame::extensions::{Extensions, Xhdr};
use crate::header::{Flags, Header};
use crate::limits::HEADER_BYTES;

/// XHDR type of the topic's name, on broadcasts.
pub const XHDR_TOPIC: u8 = 0x01;
/// Bytes in front of the first entry of XHDR.
const PREFIX_BYTES: usize = 2;
/// XHDR ends at a multiple of this.
const ALIGN_BYTES: usize = 4;

/// Where the parts of a frame's body are.
struct Parts<'a> {
    fixed: &'a [u8],
    xhdr: Option<Xhdr<'a>>,
    payload: &'a [u8],
}

fn parts<'a>(flags: Flags, body: &'a [u8]) -> Option<Parts<'a>> {
    let (extensions, payload) = Extensions::decode(flags, body).ok()?;
    let fixed = body.get(..flags.fixed_extension_bytes())?;
    Some(Parts { fixed, xhdr: extensions.xhdr, payload })
}

/// Appends XHDR with these entries; nothing if there are none.
fn put_xhdr<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = (u8, &'a [u8])>) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    for (kind, value) in entries {
        out.extend_from_slice(&[kind, value.len() as u8]);
        out.extend_from_slice(value);
    }
    if out.len() == start + PREFIX_BYTES {
        out.truncate(start);
        return false;
    }
    let bytes = (out.len() - start).next_multiple_of(ALIGN_BYTES);
    out.resize(start + bytes, 0);
    if let Some(length) = out.get_mut(start..start + PREFIX_BYTES) {
        length.copy_from_slice(&(bytes as u16).to_le_bytes());
    }
    true
}

/// The frame with the name of its topic; `None` if its extensions cannot be read. Its header may say less than its bytes.
pub(super) fn with_name(header: &Header, frame: &[u8], name: &str) -> Option<(Header, Vec<u8>)> {
    let Parts { fixed, xhdr, payload } = parts(header.flags, frame.get(HEADER_BYTES..)?)?;
    let mut out = Vec::with_capacity(frame.len() + name.len() + 2 * ALIGN_BYTES);
    out.extend_from_slice(frame.get(..HEADER_BYTES)?);
    out.extend_from_slice(fixed);
    let others = xhdr.iter().flat_map(Xhdr::iter).flatten().filter(|(kind, _)| *kind != XHDR_TOPIC);
    put_xhdr(&mut out, core::iter::once((XHDR_TOPIC, name.as_bytes())).chain(others));
    out.extend_from_slice(payload);
    Some((Header { flags: header.flags.with(Flags::XHDR), ..*header }, out))
}

/// The name that a frame carries, if it does.
pub(super) fn name_of(flags: Flags, body: &[u8]) -> Option<&str> {
    let xhdr = parts(flags, body)?.xhdr?;
    let (_, name) = xhdr.iter().flatten().find(|(kind, _)| *kind == XHDR_TOPIC)?;
    core::str::from_utf8(name).ok()
}

/// Header, extensions without the name, and payload.
pub(super) fn without_name<'a>(header: &Header, body: &'a [u8]) -> Option<(Header, Vec<u8>, &'a [u8])> {
    let Parts { fixed, xhdr, payload } = parts(header.flags, body)?;
    let mut front = fixed.to_vec();
    let others = xhdr.iter().flat_map(Xhdr::iter).flatten().filter(|(kind, _)| *kind != XHDR_TOPIC);
    let has_others = put_xhdr(&mut front, others);
    let flags = if has_others { header.flags } else { Flags(header.flags.0 & !Flags::XHDR.0) };
    Some((Header { flags, ..*header }, front, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions};
    use crate::header::Kind;

    #[test]
    fn a_name_goes_in_and_out_and_leaves_the_rest_as_it_was() {
        let options = MessageOptions { ttl_ms: Some(9), retain: true, receivers: None };
        let block = &mut [0; MESSAGE_OPTIONS_BYTES_MAX];
        let xhdr = options.encode(block);
        for (flags, front) in [(Flags(0), &[][..]), (Flags::TS, &[7; 8]), (Flags::XHDR, xhdr)] {
            let body = [front, b"payload"].concat();
            let header = Header { flags, topic: 5, lane: 3, ..Header::new(Kind::PUB, body.len()) };
            let frame = [&header.encode()[..], &body].concat();
            let (named, bytes) = with_name(&header, &frame, "sensors/imu").expect("a sound frame");
            assert_eq!(name_of(named.flags, &bytes[16..]), Some("sensors/imu"));
            assert_eq!(name_of(flags, &body), None);
            let (back, extensions, payload) = without_name(&named, &bytes[16..]).expect("a sound frame");
            assert_eq!((back, [&extensions[..], payload].concat()), (header, body));
        }
        let broken = Header { flags: Flags::XHDR, ..Header::new(Kind::PUB, 1) };
        assert_eq!(with_name(&broken, &[0; 17], "a"), None);
    }
}
