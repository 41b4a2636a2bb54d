//! What devices say that speak another protocol is the same however it is cut, and what was found is found again when it is
//! sent.
//!
//! Input: `u8` protocol, modulo 6: 0 lines, 1 raw, 2 SLIP, 3 COBS, 4 NMEA, 5 MAVLink | `u8` bytes of a piece, 0 for 256 |
//! the bytes of the line.

use laneway_proto::serial::foreign::line::Ending;
use laneway_proto::serial::foreign::{Decoder, Found, Protocol};

use crate::input::Input;

/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 600;

const PROTOCOLS: [Protocol; 6] =
    [Protocol::Line(Ending::Lf), Protocol::Raw, Protocol::Slip, Protocol::Cobs, Protocol::Nmea, Protocol::Mavlink];

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (protocol, piece) = (PROTOCOLS[usize::from(input.u8()) % PROTOCOLS.len()], input.u8());
    let line = input.0;
    let whole = found(protocol, line, usize::MAX);
    let piece = if piece == 0 { 256 } else { usize::from(piece) };
    assert_eq!(found(protocol, line, piece), whole, "in pieces of {piece} bytes");
    let mut bytes = 0;
    for message in whole.iter().flatten() {
        bytes += message.len();
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        let mut wire = vec![0; Protocol::wire_bytes_max(message.len())];
        let len = protocol.encode(message, &mut wire).expect("what was said can be said");
        // A CR in front of the ending belongs to it.
        if !message.ends_with(b"\r") || protocol == Protocol::Raw {
            assert_eq!(found(protocol, &wire[..len], usize::MAX), [Some(message.clone())]);
        }
    }
    assert!(bytes <= 254 * line.len(), "{bytes} bytes were made of {}", line.len());
    let mut wire = vec![0; Protocol::wire_bytes_max(line.len())];
    if let Ok(len) = protocol.encode(line, &mut wire) {
        assert!(len <= wire.len());
    }
}

fn found(protocol: Protocol, line: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    fn owned(found: Found<'_>) -> Option<Vec<u8>> {
        match found {
            Found::Message(message) => Some(message.to_vec()),
            Found::Bad => None,
        }
    }
    let mut decoder = Decoder::<MESSAGE_BYTES_MAX>::new(protocol);
    let mut all = Vec::new();
    for mut piece in line.chunks(piece) {
        while let Some(found) = decoder.push(&mut piece) {
            all.push(owned(found));
        }
        assert!(piece.is_empty(), "everything is taken");
    }
    while let Some(found) = decoder.on_silence() {
        all.push(owned(found));
    }
    all
}
