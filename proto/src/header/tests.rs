//! Golden bytes, written by hand from the specification, never produced by the encoder.

use super::*;

#[test]
fn the_golden_frame_reads_as_specified_and_is_written_back() {
    let golden = [0x20, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x03, 0x00, 0x00, 0x00, 0xd2, 0x04, 0x00, 0x00];
    let header = Header::decode(&golden).expect("golden header");
    assert_eq!(
        header,
        Header { len: 32, kind: Kind::PUB, flags: Flags(0), topic: 0x0001_0001, lane: 3, hops: 0, ckey: 0, seq: 1234 }
    );
    assert_eq!(header.encode(), golden);
}

#[test]
fn a_length_below_the_header_is_refused() {
    let mut bytes = [0; HEADER_BYTES];
    for len in 0..16u16 {
        bytes[..2].copy_from_slice(&len.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(DecodeError::LengthTooSmall));
    }
    bytes[0] = 16;
    assert!(Header::decode(&bytes).is_ok());
}

#[test]
fn sequence_numbers_wrap_past_zero() {
    assert_eq!(seq_after(1, 1), 2);
    assert_eq!(seq_after(u32::MAX, 1), 1);
    assert_eq!(seq_after(u32::MAX - 1, 3), 2);
}
