//! Golden bytes of every protocol, and what damage costs.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::line::Ending;
use super::mavlink::{Head, Losses};
use super::nmea::{Address, address};
use super::*;

/// What is found in `wire`, given in pieces of `step` bytes, and after the silence behind it; `None` is something bad.
fn found_in(protocol: Protocol, wire: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
    fn note(found: Found<'_>) -> Option<Vec<u8>> {
        match found {
            Found::Message(message) => Some(message.to_vec()),
            Found::Bad => None,
        }
    }
    let mut decoder = Decoder::<64>::new(protocol);
    let mut all = Vec::new();
    for mut piece in wire.chunks(step) {
        while let Some(found) = decoder.push(&mut piece) {
            all.push(note(found));
        }
        assert!(piece.is_empty(), "everything is taken");
    }
    while let Some(found) = decoder.on_silence() {
        all.push(note(found));
    }
    assert!(!decoder.waits(), "a silence decides about everything");
    all
}

/// However the bytes are cut.
fn found(protocol: Protocol, wire: &[u8]) -> Vec<Option<Vec<u8>>> {
    let whole = found_in(protocol, wire, wire.len().max(1));
    for step in 1..wire.len() {
        assert_eq!(found_in(protocol, wire, step), whole, "in pieces of {step} bytes");
    }
    whole
}

fn messages(all: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    all.iter().map(|message| Some(message.to_vec())).collect()
}

fn encoded(protocol: Protocol, message: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut out = vec![0xAA; Protocol::wire_bytes_max(message.len())];
    let len = protocol.encode(message, &mut out)?;
    for short in 0..len {
        assert_eq!(protocol.encode(message, &mut out[..short]), Err(Unfit), "{short} bytes are too few");
    }
    assert_eq!(protocol.encode(message, &mut out), Ok(len));
    out.truncate(len);
    Ok(out)
}

#[test]
fn lines_end_with_lf_or_crlf_and_go_out_with_the_ending_that_was_chosen() {
    let lines = Protocol::Line(Ending::CrLf);
    assert_eq!(found(lines, b"one\r\ntwo\n\nbegun"), messages(&[b"one", b"two", b""]));
    assert_eq!(encoded(lines, b"one"), Ok(b"one\r\n".to_vec()));
    assert_eq!(encoded(lines, b"one\r\n"), Ok(b"one\r\n".to_vec()), "no second ending");
    assert_eq!(encoded(Protocol::Line(Ending::Lf), b"one"), Ok(b"one\n".to_vec()));
    assert_eq!(encoded(Protocol::Line(Ending::Cr), b""), Ok(b"\r".to_vec()));
}

#[test]
fn what_is_too_long_costs_itself_only() {
    let long = [b'x'; 65];
    for (protocol, end) in [(Protocol::Line(Ending::Lf), b'\n'), (Protocol::Slip, 0xC0)] {
        let wire = [&long[..], &[end], &long[..64], &[end]].concat();
        assert_eq!(found(protocol, &wire), [None, Some(long[..64].to_vec())]);
    }
}

#[test]
fn raw_bytes_are_cut_by_silence_and_by_size_only() {
    let wire: Vec<u8> = (0..600).map(|at| at as u8).collect();
    assert_eq!(found(Protocol::Raw, &wire), messages(&[&wire[..256], &wire[256..512], &wire[512..]]));
    assert_eq!(found(Protocol::Raw, b""), []);
    assert_eq!(encoded(Protocol::Raw, &wire), Ok(wire));
}

#[test]
fn slip_frames_are_those_of_the_rfc() {
    let wire = [0xC0, 0x01, 0xDB, 0xDC, 0x02, 0xDB, 0xDD, 0x03, 0xC0];
    assert_eq!(found(Protocol::Slip, &wire), messages(&[&[1, 0xC0, 2, 0xDB, 3]]));
    assert_eq!(encoded(Protocol::Slip, &[1, 0xC0, 2, 0xDB, 3]), Ok(wire[1..].to_vec()));
    assert_eq!(found(Protocol::Slip, &[1, 0xDB, 1, 0xC0, 2, 0xDB, 0xC0, 3, 0xC0]), [None, None, Some(vec![3])]);
}

#[test]
fn cobs_frames_are_those_of_the_paper() {
    let wire = [0x03, 0x11, 0x22, 0x02, 0x33, 0x00];
    assert_eq!(found(Protocol::Cobs, &wire), messages(&[&[0x11, 0x22, 0x00, 0x33]]));
    assert_eq!(encoded(Protocol::Cobs, &[0x11, 0x22, 0x00, 0x33]), Ok(wire.to_vec()));
    assert_eq!(found(Protocol::Cobs, &[5, 1, 0, 2, 9, 0]), [None, Some(vec![9])]);
}

#[test]
fn a_sentence_is_taken_if_its_checksum_is_right() {
    let gga = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47";
    let wire = [&gga[..], b"\r\n", &gga[..20], b"\r\n", &gga[..30], &gga[..], b"\r\nnoise\r\n$GPGGA*57\r\n!AIVDM*57\n"]
        .concat();
    let bad = None;
    let expected =
        [Some(gga.to_vec()), bad.clone(), bad.clone(), Some(gga.to_vec()), bad, None, Some(b"!AIVDM*57".to_vec())];
    assert_eq!(found(Protocol::Nmea, &wire), expected);
    assert_eq!(encoded(Protocol::Nmea, &gga[..gga.len() - 3]), Ok([&gga[..], b"\r\n"].concat()), "it is added");
    assert_eq!(encoded(Protocol::Nmea, &gga[..]), Ok([&gga[..], b"\r\n"].concat()), "once");
    for unfit in [&b""[..], b"GPGGA", b"$GPGGA*48", b"$A*", b"$A\r\nB", b"$A$B"] {
        assert_eq!(encoded(Protocol::Nmea, unfit), Err(Unfit), "{}", String::from_utf8_lossy(unfit));
    }
    assert_eq!(address(gga), Some(Address { talker: "GP", kind: "GGA" }));
    assert_eq!(address(b"$PUBX,00*33"), Some(Address { talker: "P", kind: "UBX" }));
    assert_eq!(address(b"$GP*17"), None);
    assert_eq!(address(b"$G/#GA,1"), None);
}

/// HEARTBEAT of system 1, component 1, number 7, in version 1.
const HEARTBEAT_V1: [u8; 17] =
    [0xFE, 0x09, 0x07, 0x01, 0x01, 0x00, 0x05, 0x00, 0x00, 0x00, 0x02, 0x03, 0x51, 0x04, 0x03, 0x41, 0x31];
/// The same in version 2.
const HEARTBEAT_V2: [u8; 21] = [
    0xFD, 0x09, 0x00, 0x00, 0x07, 0x01, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x02, 0x03, 0x51, 0x04, 0x03,
    0x1F, 0x30,
];
/// Number 8, signed.
const HEARTBEAT_SIGNED: [u8; 34] = [
    0xFD, 0x09, 0x01, 0x00, 0x08, 0x01, 0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, 0x02, 0x03, 0x51, 0x04, 0x03,
    0x7F, 0x2A, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x2C, 0x47, 0xB5, 0x8A, 0xE4, 0xF3,
];

#[test]
fn frames_of_both_versions_are_found_whole_signed_or_not() {
    let all = [&HEARTBEAT_V1[..], &HEARTBEAT_V2, &HEARTBEAT_SIGNED];
    let wire = all.concat();
    assert_eq!(found(Protocol::Mavlink, &wire), messages(&all));
    assert_eq!(encoded(Protocol::Mavlink, &wire), Ok(wire.clone()));
    assert_eq!(encoded(Protocol::Mavlink, &wire[..30]), Err(Unfit));
    assert_eq!(encoded(Protocol::Mavlink, b""), Err(Unfit));
    for frame in all {
        let head = Head::of(frame).expect("a head");
        assert_eq!((head.system, head.component, head.message, head.is_known()), (1, 1, 0, true));
    }
}

#[test]
fn a_length_that_is_wrong_costs_its_frame_and_no_other() {
    for frame in [&HEARTBEAT_V1[..], &HEARTBEAT_V2] {
        for length in 0..=u8::MAX {
            let mut hurt = frame.to_vec();
            hurt[1] = length;
            let wire = [frame, &hurt, frame, frame].concat();
            let mut expected = messages(&[frame, frame, frame]);
            let was_right = usize::from(length) == 9;
            expected.insert(1, was_right.then(|| frame.to_vec()));
            assert_eq!(found_in(Protocol::Mavlink, &wire, wire.len()), expected, "length {length}");
        }
    }
}

#[test]
fn a_bit_that_is_turned_over_anywhere_costs_its_frame_and_no_other() {
    for frame in [&HEARTBEAT_V1[..], &HEARTBEAT_V2] {
        // The number of the message aside: of one that is not known the checksum says less.
        let message = if frame[0] == 0xFE { 5..6 } else { 7..10 };
        for bit in (0..frame.len() * 8).filter(|bit| !message.contains(&(bit / 8))) {
            let mut hurt = frame.to_vec();
            hurt[bit / 8] ^= 1 << (bit % 8);
            let wire = [&hurt, frame].concat();
            assert_eq!(found_in(Protocol::Mavlink, &wire, 3), [None, Some(frame.to_vec())], "bit {bit}");
        }
    }
}

#[test]
fn noise_between_frames_is_told_once() {
    let wire = [b"\xFE\xFD\x00boot \xFE\xFE", &HEARTBEAT_V1[..], b"?", &HEARTBEAT_V2].concat();
    let expected = [None, Some(HEARTBEAT_V1.to_vec()), None, Some(HEARTBEAT_V2.to_vec())];
    assert_eq!(found(Protocol::Mavlink, &wire), expected);
}

#[test]
fn what_a_component_has_lost_is_counted_across_the_wrap_of_its_numbers() {
    let mut losses = Losses::<2>::default();
    let mut on = |system: u8, seq: u8| {
        let mut frame = HEARTBEAT_V1;
        (frame[2], frame[3]) = (seq, system);
        losses.on_frame(&Head::of(&frame).expect("a head"))
    };
    assert_eq!([on(1, 250), on(1, 251), on(1, 254), on(1, 1)], [0, 0, 2, 2]);
    assert_eq!([on(2, 9), on(1, 2), on(2, 10)], [0, 0, 0], "each component by itself");
    assert_eq!([on(1, 0), on(1, 1)], [0, 0], "it began anew");
    assert_eq!([on(3, 1), on(3, 5)], [0, 0], "there is no more room");
}

#[test]
fn the_bytes_that_stand_for_layouts_are_in_order() {
    assert!(extras::EXTRAS.is_sorted_by(|(one, _), (other, _)| one < other));
    // From the published definitions: HEARTBEAT, ATTITUDE, COMMAND_LONG, STATUSTEXT, HYGROMETER_SENSOR.
    let known = [(0, 50), (30, 39), (76, 152), (253, 83), (12_920, 20)];
    assert!(known.iter().all(|&(message, extra)| mavlink::extra(message) == Some(extra)));
    assert_eq!(mavlink::extra(0xFF_FFFF), None);
}
