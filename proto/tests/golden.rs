//! Golden bytes of every fixed layout, written by hand from the specification and never by an encoder: read them, and
//! write them back where an encoder exists.

use laneway_proto::error::DecodeError;
use laneway_proto::frame::batch::{self, Messages};
use laneway_proto::frame::confirm::{self, Confirm, Level};
use laneway_proto::frame::extensions::{Corr, Extensions, Frag, MessageOptions, Src};
use laneway_proto::frame::lost::{LossReason, Lost};
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::frame::totals::LaneTotal;
use laneway_proto::frame::{count, credit};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::framing::run::check_data_frame;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::session::handshake;

/// Splits a golden frame into header, extensions and payload, after checking that it is exactly one frame and that its
/// header is written back as it was.
fn open(golden: &[u8]) -> (Header, Extensions<'_>, &[u8]) {
    let Ok(Front::Whole(header)) = front(golden, 65_535) else { panic!("not a whole frame: {golden:02x?}") };
    assert_eq!(usize::from(header.len), golden.len(), "the length is that of the vector");
    assert_eq!(header.encode(), golden[..16], "the header is written as it was read");
    let (extensions, payload) = Extensions::decode(header.flags, &golden[16..]).expect("golden extensions");
    (header, extensions, payload)
}

const PAYLOAD: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn the_preface_opens_the_link() {
    let golden = [0x8b, 0x4c, 0x42, 0x1a, 0x01, 0x01, 0x00, 0x00];
    assert_eq!(handshake::PREFACE, golden);
    assert!(handshake::check_preface(&golden).is_ok());
}

#[test]
fn a_plain_publish() {
    let golden = [
        0x20, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, // len 32, PUB, no flags, topic 0x00010001
        0x03, 0x00, 0x00, 0x00, 0xd2, 0x04, 0x00, 0x00, // lane 3, hops 0, ckey 0, seq 1234
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    ];
    let (header, extensions, payload) = open(&golden);
    let expected = Header { topic: 0x0001_0001, lane: 3, seq: 1234, ..Header::new(Kind::PUB, 16) };
    assert_eq!((header, extensions, payload), (expected, Extensions::default(), &PAYLOAD[..]));
    assert_eq!(check_data_frame(&header, &golden, 16), Ok(1));
}

#[test]
fn a_publish_with_a_timestamp() {
    let golden = [
        0x28, 0x00, 0x01, 0x01, 0x01, 0x00, 0x01, 0x00, // len 40, PUB, TS, topic 0x00010001
        0x03, 0x00, 0x00, 0x00, 0xd2, 0x04, 0x00, 0x00, // lane 3, hops 0, ckey 0, seq 1234
        0x00, 0xca, 0x9a, 0x3b, 0x00, 0x00, 0x00, 0x00, // TS: 1,000,000,000 ns
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f,
    ];
    let (header, extensions, payload) = open(&golden);
    assert_eq!((header.len, header.flags, header.seq), (40, Flags::TS, 1234));
    assert_eq!(extensions, Extensions { ts: Some(1_000_000_000), ..Extensions::default() });
    assert_eq!(payload, PAYLOAD);
}

#[test]
fn every_header_field_is_where_the_diagram_says() {
    let golden = [
        0x10, 0x00, 0x05, 0x60, 0x78, 0x56, 0x34, 0x12, // len 16, BATCH, RETX + MORE, topic
        0x0f, 0x07, 0xbb, 0xaa, 0xef, 0xbe, 0xad, 0xde, // lane 15, hops 7, ckey, seq
    ];
    let header = Header::decode(&golden).expect("golden header");
    let expected = Header {
        flags: Flags::RETX.with(Flags::MORE),
        topic: 0x1234_5678,
        lane: 15,
        hops: 7,
        ckey: 0xAABB,
        seq: 0xDEAD_BEEF,
        ..Header::new(Kind::BATCH, 0)
    };
    assert_eq!(header, expected);
    assert_eq!(header.encode(), golden);
    assert_eq!(header.rejected(), None);
}

#[test]
fn a_batch_of_three_messages() {
    let golden = [
        0x1e, 0x00, 0x05, 0x00, 0x01, 0x00, 0x01, 0x00, // len 30, BATCH, no flags, topic 0x00010001
        0x01, 0x00, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, // lane 1, hops 0, ckey 0, seq 5: the next frame has seq 8
        0x03, 0x00, 0x00, 0x00, // count 3, zero
        0x02, 0x00, 0x68, 0x69, // "hi"
        0x00, 0x00, // an empty message
        0x02, 0x00, 0x21, 0x21, // "!!"
    ];
    let (header, extensions, body) = open(&golden);
    assert_eq!((header.kind, header.seq, extensions), (Kind::BATCH, 5, Extensions::default()));
    assert_eq!(batch::prefix(3), golden[16..20]);
    let messages: Result<Vec<&[u8]>, _> = Messages::new(body).and_then(Iterator::collect);
    assert_eq!(messages, Ok(vec![&b"hi"[..], &b""[..], &b"!!"[..]]));
    assert_eq!(check_data_frame(&header, &golden, 1 << 20), Ok(3));
}

#[test]
fn two_fragments_with_their_source() {
    let first = [
        0x24, 0x00, 0x01, 0x0a, 0x01, 0x00, 0x01, 0x00, // len 36, PUB, FRAG + SRC, topic 0x00010001
        0x01, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, // lane 1, seq 7
        0x00, 0x00, 0x02, 0x00, 0x06, 0x00, 0x00, 0x00, // FRAG: fragment 0 of 2, 6 bytes in all
        0xef, 0xbe, 0xad, 0xde, 0x07, 0x00, 0x00, 0x00, // SRC: origin 0xdeadbeef, its message 7
        0x61, 0x62, 0x63, 0x64, // "abcd"
    ];
    let second = [
        0x22, 0x00, 0x01, 0x0a, 0x01, 0x00, 0x01, 0x00, // len 34
        0x01, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, // lane 1, seq 7: the number is the message's
        0x01, 0x00, 0x02, 0x00, 0x06, 0x00, 0x00, 0x00, // FRAG: fragment 1 of 2
        0xef, 0xbe, 0xad, 0xde, 0x07, 0x00, 0x00, 0x00, // SRC: the same message
        0x65, 0x66, // "ef"
    ];
    let src = Src { origin: 0xDEAD_BEEF, seq: 7 };
    for (index, golden, wanted) in [(0, &first[..], &b"abcd"[..]), (1, &second, b"ef")] {
        let (header, extensions, payload) = open(golden);
        let frag = Frag { index, count: 2, total_len: 6 };
        assert_eq!(extensions, Extensions { frag: Some(frag), src: Some(src), ..Extensions::default() });
        assert_eq!(payload, wanted);
        assert_eq!(frag.encode(), golden[16..24]);
        assert_eq!(src.encode(), golden[24..32]);
        assert_eq!(check_data_frame(&header, golden, 6), Ok(u32::from(index == 0)), "a message counts once");
    }
}

#[test]
fn all_extensions_stand_in_their_fixed_order() {
    let golden = [
        0x40, 0x00, 0x01, 0x1f, 0x01, 0x00, 0x01, 0x00, // len 64, PUB, TS + FRAG + CORR + SRC + XHDR
        0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // lane 2, seq 1
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // TS
        0x01, 0x00, 0x03, 0x00, 0x10, 0x27, 0x00, 0x00, // FRAG: fragment 1 of 3, 10,000 bytes in all
        0x2a, 0x00, 0x00, 0x00, 0xe8, 0x03, 0x09, 0x00, // CORR: request 42, code 1000, part 9
        0x04, 0x03, 0x02, 0x01, 0x14, 0x13, 0x12, 0x11, // SRC
        0x0c, 0x00, // XHDR: 12 bytes with this field
        0x04, 0x02, 0x6b, 0x76, // type 4 (user metadata), "kv"
        0x81, 0x01, 0x55, // type 0x81, critical
        0x00, 0x00, 0x00, // padding to a multiple of 4
        0x79, 0x7a, 0x79, 0x7a, // "yzyz"
    ];
    let (_, extensions, payload) = open(&golden);
    assert_eq!(extensions.ts, Some(0x0102_0304_0506_0708));
    assert_eq!(extensions.frag, Some(Frag { index: 1, count: 3, total_len: 10_000 }));
    assert_eq!(extensions.corr, Some(Corr { request: 42, code: 1_000, part: 9 }));
    assert_eq!(extensions.src, Some(Src { origin: 0x0102_0304, seq: 0x1112_1314 }));
    let xhdr = extensions.xhdr.expect("XHDR");
    let tlvs: Result<Vec<_>, DecodeError> = xhdr.iter().collect();
    assert_eq!(tlvs, Ok(vec![(0x04, &b"kv"[..]), (0x81, &[0x55][..])]));
    assert!(xhdr.has_unknown_critical());
    assert_eq!(payload, b"yzyz");
}

#[test]
fn an_xhdr_without_a_critical_type_is_no_reason_to_drop_the_frame() {
    let golden = [
        0x1a, 0x00, 0x01, 0x10, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // len 26
        0x08, 0x00, 0x7f, 0x00, 0x03, 0x01, 0x99, 0x00, // XHDR: type 0x7f without a value, type 3, one zero
        0x6f, 0x6b, // "ok"
    ];
    let (_, extensions, payload) = open(&golden);
    assert!(!extensions.xhdr.expect("XHDR").has_unknown_critical());
    assert_eq!(payload, b"ok");
}

#[test]
fn a_publish_with_options() {
    let golden = [
        0x1e, 0x00, 0x01, 0x10, 0x01, 0x00, 0x01, 0x00, // len 30, PUB, XHDR, topic 0x00010001
        0x02, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // lane 2, seq 1
        0x0c, 0x00, // XHDR: 12 bytes with this field
        0x05, 0x04, 0x2c, 0x01, 0x00, 0x00, // time to live: 300 ms
        0x06, 0x00, // retain
        0x00, 0x00, // padding to a multiple of 4
        0x6f, 0x6b, // "ok"
    ];
    let (_, extensions, payload) = open(&golden);
    let options = MessageOptions { ttl_ms: Some(300), retain: true, receivers: None };
    assert_eq!((extensions.xhdr.expect("XHDR").options(), payload), (options, &b"ok"[..]));
    assert_eq!(options.encode(&mut [0xff; 16]), &golden[16..28]);
    let only_retain = MessageOptions { retain: true, ..MessageOptions::default() };
    assert_eq!(only_retain.encode(&mut [0xff; 16]), [4, 0, 6, 0]);
    let only_ttl = MessageOptions { ttl_ms: Some(0x0403_0201), ..MessageOptions::default() };
    assert_eq!(only_ttl.encode(&mut [0xff; 16]), [8, 0, 5, 4, 1, 2, 3, 4]);
    assert_eq!(MessageOptions::default().encode(&mut [0xff; 16]), []);
    let all = MessageOptions { ttl_ms: Some(300), retain: true, receivers: Some(10) };
    let golden_all = [16, 0, 5, 4, 0x2c, 1, 0, 0, 6, 0, 7, 2, 10, 0, 0, 0];
    assert_eq!(all.encode(&mut [0xff; 16]), golden_all);
    let (extensions, _) = Extensions::decode(Flags::XHDR, &golden_all).expect("valid");
    assert_eq!(extensions.xhdr.map(|xhdr| xhdr.options()), Some(all));
    assert_eq!(extensions.receivers_wanted(), 10);
    for malformed in
        [[8, 0, 5, 3, 1, 2, 3, 0], [8, 0, 6, 1, 1, 0, 0, 0], [8, 0, 7, 1, 1, 0, 0, 0], [8, 0, 7, 3, 1, 0, 0, 0]]
    {
        let refused = Extensions::decode(Flags::XHDR, &malformed);
        assert_eq!(refused, Err(DecodeError::BodyMalformed), "an option of the wrong length");
    }
    let twice = [16, 0, 6, 0, 5, 4, 9, 0, 0, 0, 5, 4, 8, 0, 0, 0];
    let (extensions, _) = Extensions::decode(Flags::XHDR, &twice).expect("the order is free, and the first counts");
    assert_eq!(
        extensions.xhdr.map(|xhdr| xhdr.options()),
        Some(MessageOptions { ttl_ms: Some(9), retain: true, receivers: None })
    );
}

#[test]
fn a_report_of_lost_messages() {
    let golden = [
        0x1c, 0x00, 0x87, 0x00, 0x01, 0x00, 0x01, 0x00, // len 28, LOST, topic 0x00010001
        0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 3, unnumbered
        0x03, 0x05, 0x00, 0x00, // lane 3, reason 5: conflated
        0x00, 0x00, 0x00, 0x00, // first: 0 on streams
        0x2c, 0x01, 0x00, 0x00, // 300 messages
    ];
    let lost = Lost { topic: 0x0001_0001, lane: 3, reason: LossReason::Conflated, first: 0, count: 300 };
    assert_eq!(Lost::decode(&open(&golden).0, &golden[16..]), Ok(lost));
    assert_eq!(lost.encode(), golden);
}

#[test]
fn credit_for_two_lanes() {
    let golden = [
        0x2c, 0x00, 0x86, 0x00, 0x00, 0x00, 0x00, 0x00, // len 44, CREDIT
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 0, unnumbered
        0x02, 0x00, 0x00, 0x00, // two entries
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 1: 1 MiB in all
        0x05, 0x00, 0x00, 0x00, 0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // lane 5
    ];
    let totals = [LaneTotal { lane: 1, total: 1 << 20 }, LaneTotal { lane: 5, total: 0x0102_0304_0506_0708 }];
    let read = credit::decode(&golden[16..]).map(Iterator::collect::<Vec<_>>);
    assert_eq!((open(&golden).0.kind, read), (Kind::CREDIT, Ok(totals.to_vec())));
    assert_eq!(credit::encode(&totals, &mut [0xff; credit::CREDIT_FRAME_BYTES_MAX]), golden);
}

#[test]
fn the_count_of_a_lane() {
    let golden = [
        0x20, 0x00, 0x88, 0x00, 0x00, 0x00, 0x00, 0x00, // len 32, COUNT
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 0, unnumbered
        0x01, 0x00, 0x00, 0x00, // one entry
        0x02, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 2: 64 frames in all
    ];
    let totals = [LaneTotal { lane: 2, total: 64 }];
    let read = count::decode(&golden[16..]).map(Iterator::collect::<Vec<_>>);
    assert_eq!((open(&golden).0.kind, read), (Kind::COUNT, Ok(totals.to_vec())));
    assert_eq!(count::encode(&totals, &mut [0xff; count::COUNT_FRAME_BYTES_MAX]), golden);
}

#[test]
fn a_lane_confirmed_at_both_levels() {
    let golden = [
        0x24, 0x00, 0x89, 0x00, 0x00, 0x00, 0x00, 0x00, // len 36, CONFIRM
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 0, unnumbered
        0x02, 0x00, 0x00, 0x00, // two entries
        0x01, 0x01, 0x00, 0x00, 0xe8, 0x03, 0x00, 0x00, // lane 1: accepted through 1000
        0x01, 0x02, 0x0a, 0x01, 0xe7, 0x03, 0x00, 0x00, // lane 1: delivered to 266 through 999
    ];
    let confirms = [
        Confirm { lane: 1, level: Level::Accepted, receivers: 0, seq_through: 1000 },
        Confirm { lane: 1, level: Level::Delivered, receivers: 266, seq_through: 999 },
    ];
    let read = confirm::decode(&golden[16..]).map(Iterator::collect::<Vec<_>>);
    assert_eq!((open(&golden).0.kind, read), (Kind::CONFIRM, Ok(confirms.to_vec())));
    assert_eq!(confirm::encode(&confirms, &mut [0xff; confirm::CONFIRM_FRAME_BYTES_MAX]), golden);
}

#[test]
fn a_ping_and_its_pong() {
    let ping = [
        0x18, 0x00, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, // len 24, PING
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 0, unnumbered
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x08, // t0
    ];
    let pong = [
        0x28, 0x00, 0x82, 0x00, 0x00, 0x00, 0x00, 0x00, // len 40, PONG
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // lane 0, unnumbered
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x08, // t0, unchanged
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // t1 = 1: received
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // t2 = 256: sent
    ];
    let t0 = 0x0877_6655_4433_2211;
    assert_eq!(open(&ping).0.kind, Kind::PING);
    assert_eq!(Ping::decode(&ping[16..]), Ok(Ping { t0 }));
    assert_eq!(Ping { t0 }.encode(), ping);
    assert_eq!(open(&pong).0.kind, Kind::PONG);
    assert_eq!(Pong::decode(&pong[16..]), Ok(Pong { t0, t1: 1, t2: 256 }));
    assert_eq!(Pong { t0, t1: 1, t2: 256 }.encode(), pong);
}

#[test]
fn pad_is_a_frame_like_any_other() {
    let golden = [0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff];
    let (header, _, body) = open(&golden);
    assert_eq!((header.kind, header.rejected(), body), (Kind::PAD, None, &[0xff; 3][..]));
}

#[test]
fn the_smallest_and_the_largest_frame() {
    let smallest = [16, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(open(&smallest).2, b"");
    let mut largest = vec![0xff, 0xff, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0];
    largest.resize(65_535, 7);
    assert_eq!(open(&largest).2.len(), 65_519);
}
