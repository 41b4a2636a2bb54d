//! `docs/PROTOCOL.md` says what the code does: its tables are compared with the code, its vectors decoded.

pub mod document;

use std::collections::BTreeMap;

use document::number;
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch::Messages;
use laneway_proto::frame::confirm::{self, Confirm, Level};
use laneway_proto::frame::extensions::{Extensions, Frag, MessageOptions, Src, XHDR_RECEIVERS, XHDR_RETAIN, XHDR_TTL};
use laneway_proto::frame::lost::{LossReason, Lost};
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::frame::totals::LaneTotal;
use laneway_proto::frame::{count, credit};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::framing::run::check_data_frame;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::lane::policy::Policy;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits;
use laneway_proto::session::handshake::check_preface;

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
const LIMITS_SOURCE: &str = include_str!("../src/limits.rs");
const SCHEMA: &str = include_str!("../schema/laneway.proto");

fn table(first_columns: &[&str]) -> Vec<Vec<String>> {
    document::table(DOCUMENT, first_columns)
}

fn vectors() -> BTreeMap<String, Vec<u8>> {
    document::vectors(DOCUMENT)
}

#[test]
fn the_table_of_close_codes_is_the_code() {
    let documented: Vec<_> = table(&["code", "name", "retry"]);
    let documented: Vec<_> = documented.iter().map(|row| (number(&row[0]), row[1].as_str(), row[2].as_str())).collect();
    let retry = |code: CloseCode| if code.retryable() { "yes" } else { "no" };
    let actual: Vec<_> =
        CloseCode::ALL.into_iter().map(|code| (u64::from(code.number()), code.name(), retry(code))).collect();
    assert_eq!(documented, actual);
}

#[test]
fn the_table_of_limits_is_the_code() {
    macro_rules! values {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), limits::$name as u64)),*]) };
    }
    let actual = values! {
        WIRE_VERSION HEADER_BYTES FRAME_BYTES_MIN FRAME_BYTES_MAX EXTENSION_BYTES PREFACE_BYTES
        MESSAGE_BYTES_MAX_DEFAULT MESSAGE_BYTES_MAX_CEILING FRAGMENT_BYTES_STREAM FRAGMENTS_MAX LANES_MAX HOPS_MAX
        SEQUENCE_STALE_MS LANE_NAME_BYTES_MAX LANE_CLASSES LANE_CREDIT_BYTES_DEFAULT
        COUNT_MS_MAX COUNT_FRAMES_MAX RESUME_GRACE_MS_DEFAULT
        HOT_ENTRIES_MAX BATCH_MESSAGES_MAX TOPIC_BYTES_MAX TOPIC_ID_DYNAMIC_FIRST TOPICS_PER_SESSION_MAX TOPICS_MAX_DEFAULT
        SUBSCRIPTIONS_PER_SESSION_MAX CONTROL_BYTES_MAX METADATA_BYTES_MAX WILL_BYTES_MAX NODE_ID_BYTES NETWORK_ID_BYTES_MAX
        MALFORMED_PER_SECOND_MAX HANDSHAKE_MS_MAX_DEFAULT PARTIAL_FRAME_MS_MAX_DEFAULT
    };
    document::check_limits(DOCUMENT, LIMITS_SOURCE, &actual);
}

#[test]
fn the_table_of_kinds_is_the_code() {
    let known = [
        ("PAD", Kind::PAD),
        ("PUB", Kind::PUB),
        ("BATCH", Kind::BATCH),
        ("CTRL", Kind::CTRL),
        ("PING", Kind::PING),
        ("PONG", Kind::PONG),
        ("CREDIT", Kind::CREDIT),
        ("LOST", Kind::LOST),
        ("COUNT", Kind::COUNT),
        ("CONFIRM", Kind::CONFIRM),
    ];
    let documented: BTreeMap<_, _> =
        table(&["kind", "name", "body"]).iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    let actual = known.iter().map(|(name, kind)| (u64::from(kind.0), (*name).to_owned())).collect();
    assert_eq!(documented, actual);
    for value in 0..=255 {
        assert_eq!(Kind(value).is_known(), documented.contains_key(&u64::from(value)), "kind {value:#04x}");
    }
}

#[test]
fn the_table_of_flags_is_the_code() {
    let actual = [
        ("TS", Flags::TS),
        ("FRAG", Flags::FRAG),
        ("CORR", Flags::CORR),
        ("SRC", Flags::SRC),
        ("XHDR", Flags::XHDR),
        ("RETX", Flags::RETX),
        ("MORE", Flags::MORE),
        ("RESERVED", Flags::RESERVED),
    ];
    let rows = table(&["bit", "name", "meaning"]);
    let documented: Vec<_> = rows.iter().map(|row| (row[1].as_str(), number(&row[0]))).collect();
    assert_eq!(documented, actual.map(|(name, flag)| (name, u64::from(flag.0))));
}

#[test]
fn the_table_of_loss_reasons_is_the_code() {
    let rows = table(&["reason", "name", "meaning"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    assert_eq!(documented, LossReason::ALL.map(|reason| (u64::from(reason.number()), reason.name())));
}

#[test]
fn the_tables_of_kinds_lanes_and_policies_are_the_code() {
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let rows = table(&["kind", "reliable", "ordered"]);
    let documented: Vec<_> = rows.iter().map(|row| [row[0].as_str(), &row[1], &row[2]]).collect();
    let kinds = LaneKind::ALL.map(|kind| [kind.name(), yes(kind.is_reliable()), yes(kind.is_ordered())]);
    assert_eq!(documented, kinds);
    let documented: Vec<_> = table(&["lane", "name", "kind", "class"]).iter().map(|row| row[..5].join(" ")).collect();
    let lanes = LaneTable::STANDARD;
    let lanes = lanes.iter().map(|(n, lane)| format!("{n} {} {} {} {}", lane.name, lane.kind, lane.class, lane.policy));
    assert_eq!(documented, lanes.collect::<Vec<_>>());
    let rows = table(&["policy", "name"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    assert_eq!(documented, Policy::ALL.map(|policy| (u64::from(policy.number()), policy.name())));
}

#[test]
fn the_table_of_xhdr_types_is_the_code() {
    let rows = table(&["type", "name", "value"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    let known = [(XHDR_TTL, "ttl"), (XHDR_RETAIN, "retain"), (XHDR_RECEIVERS, "receivers")];
    assert_eq!(documented, known.map(|(number, name)| (u64::from(number), name)));
}

#[test]
fn the_table_of_control_messages_is_the_schema() {
    let (_, body) = SCHEMA.split_once("oneof body {").expect("the schema has one choice of bodies");
    let (body, _) = body.split_once('}').expect("which ends");
    let schema: Vec<_> = body
        .lines()
        .filter_map(|line| {
            let (kind, field) = line.trim().trim_end_matches(';').split_once(' ')?;
            Some((number(field.split_once(" = ")?.1), kind.to_owned()))
        })
        .collect();
    let documented: Vec<_> =
        table(&["field", "message", "from"]).into_iter().map(|row| (number(&row[0]), row[1].clone())).collect();
    assert_eq!(documented, schema);
    assert_eq!(schema.len(), 12, "the schema was read");
}

/// The names of the vectors, so that none is left out here.
const VECTORS: [&str; 30] = [
    "preface",
    "publish",
    "publish-with-timestamp",
    "batch",
    "first-fragment",
    "last-fragment",
    "extended",
    "options",
    "receivers",
    "ping",
    "pong",
    "credit",
    "lost",
    "count",
    "confirm",
    "hello",
    "welcome",
    "reject",
    "goodbye",
    "declare-topics",
    "subscribe",
    "unsubscribe",
    "result-done",
    "result-refused",
    "will",
    "resume-hello",
    "resume",
    "peer-update",
    "stats-request",
    "stats",
];

#[test]
fn every_vector_is_one_whole_frame() {
    let vectors = vectors();
    let names: Vec<&str> = vectors.keys().map(String::as_str).collect();
    let mut expected = VECTORS.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, bytes) in &vectors {
        if name == "preface" {
            let preface = bytes.first_chunk().expect("eight bytes");
            assert!(check_preface(preface).is_ok() && bytes.len() == 8);
            continue;
        }
        let Ok(Front::Whole(header)) = front(bytes, 65_535) else { panic!("{name} is not a whole frame") };
        assert_eq!(usize::from(header.len), bytes.len(), "the length in {name}");
        assert_eq!(header.encode(), bytes[..16], "the header of {name} is written as it was read");
        assert_eq!(header.rejected(), None, "{name}");
        if header.kind.is_data() {
            assert!(check_data_frame(&header, bytes, 1 << 20).is_ok(), "{name}");
        }
    }
}

#[test]
fn the_data_vectors_say_what_stands_beside_them() {
    let vectors = vectors();
    let open = |name: &str| {
        let frame = vectors.get(name).map(Vec::as_slice).unwrap_or_default();
        let header = frame.first_chunk().map(Header::decode).expect("a header").expect("a valid length");
        let (extensions, payload) = Extensions::decode(header.flags, &frame[16..]).expect("extensions");
        (header, extensions, payload)
    };
    let counting: Vec<u8> = (0..16).collect();
    let (header, _, payload) = open("publish");
    assert_eq!((header.kind, header.topic, header.lane, header.seq), (Kind::PUB, 0x0001_0001, 3, 1234));
    assert_eq!(payload, counting);
    let (_, extensions, payload) = open("publish-with-timestamp");
    assert_eq!((extensions.ts, payload), (Some(1_000_000_000), &counting[..]));
    let (header, _, body) = open("batch");
    let messages: Result<Vec<&[u8]>, _> = Messages::new(body).and_then(Iterator::collect);
    assert_eq!((header.seq, messages), (5, Ok(vec![&b"hi"[..], b"", b"!!"])));
    for (name, index, wanted) in [("first-fragment", 0, "abcd"), ("last-fragment", 1, "ef")] {
        let (header, extensions, payload) = open(name);
        let src = Src { origin: 0xDEAD_BEEF, seq: 7 };
        assert_eq!(extensions.frag, Some(Frag { index, count: 2, total_len: 6 }));
        assert_eq!((extensions.src, header.seq, payload), (Some(src), 7, wanted.as_bytes()));
    }
    let (_, extensions, payload) = open("extended");
    let tlvs: Result<Vec<_>, _> = extensions.xhdr.expect("XHDR").iter().collect();
    assert_eq!((tlvs, payload), (Ok(vec![(0x7f, &b""[..]), (3, &[0x99][..])]), &b"ok"[..]));
    let (_, extensions, payload) = open("options");
    let options = extensions.xhdr.map(|xhdr| xhdr.options());
    assert_eq!(
        (options, payload),
        (Some(MessageOptions { ttl_ms: Some(300), retain: true, receivers: None }), &b"ok"[..])
    );
    let (header, extensions, payload) = open("receivers");
    assert_eq!((header.seq, extensions.src), (9, Some(Src { origin: 0xDEAD_BEEF, seq: 9 })));
    assert_eq!((extensions.receivers_wanted(), payload), (10, &b"ok"[..]));
    let t0 = 0x0877_6655_4433_2211;
    assert_eq!(Ping { t0 }.encode().as_slice(), vectors["ping"]);
    assert_eq!(Pong { t0, t1: 1, t2: 256 }.encode().as_slice(), vectors["pong"]);
}

#[test]
fn the_hot_vectors_say_what_stands_beside_them() {
    let vectors = vectors();
    let totals = |pairs: [(u8, u64); 2]| pairs.map(|(lane, total)| LaneTotal { lane, total });
    let given = totals([(1, 1 << 20), (5, 4_096)]);
    assert_eq!(credit::encode(&given, &mut [0; credit::CREDIT_FRAME_BYTES_MAX]), vectors["credit"]);
    assert!(credit::decode(&vectors["credit"][16..]).is_ok_and(|read| read.eq(given)));
    let counted = totals([(1, 64), (2, 9)]);
    assert_eq!(count::encode(&counted, &mut [0; count::COUNT_FRAME_BYTES_MAX]), vectors["count"]);
    assert!(count::decode(&vectors["count"][16..]).is_ok_and(|read| read.eq(counted)));
    let confirms = [
        Confirm { lane: 1, level: Level::Accepted, receivers: 0, seq_through: 1_000 },
        Confirm { lane: 1, level: Level::Delivered, receivers: 10, seq_through: 999 },
    ];
    assert_eq!(confirm::encode(&confirms, &mut [0; confirm::CONFIRM_FRAME_BYTES_MAX]), vectors["confirm"]);
    assert!(confirm::decode(&vectors["confirm"][16..]).is_ok_and(|read| read.eq(confirms)));
    let lost = Lost { topic: 0x0001_0001, lane: 3, reason: LossReason::Conflated, first: 0, count: 300 };
    assert_eq!(lost.encode().as_slice(), vectors["lost"]);
}

#[cfg(feature = "control")]
#[test]
fn the_control_vectors_say_what_stands_beside_them() {
    use laneway_proto::control::{
        Body, Control, DeclareTopics, Goodbye, Hello, LaneCount, Limits, PeerUpdate, Reject, Resume, Sample, Stats,
        StatsRequest, Sub, Subscribe, Topic, Unsubscribe, Welcome, Will,
    };

    let hello = Hello {
        version_min: 1,
        version_max: 1,
        node_id: (0..16).collect(),
        epoch: 0x0807_0605_0403_0201,
        nonce: 9,
        network_id: "lab".into(),
        features: 3,
        ..Hello::default()
    };
    let limits = Limits {
        max_frame: limits::FRAME_BYTES_MAX as u32,
        max_message: limits::MESSAGE_BYTES_MAX_DEFAULT,
        frag_size: limits::FRAGMENT_BYTES_STREAM as u32,
        max_topics: limits::TOPICS_PER_SESSION_MAX,
        max_subs: limits::SUBSCRIPTIONS_PER_SESSION_MAX,
        ..Limits::default()
    };
    let welcome =
        Welcome { version: 1, session: 1, epoch: hello.epoch, limits: Some(limits), features: 3, ..Welcome::default() };
    let reject = Reject { code: 5, reason: "old".into(), version_min: 1, version_max: 1, retry_after_ms: 300 };
    let topic = Topic { id: 65_536, name: "a/b".into(), ..Topic::default() };
    let sub = Sub { pattern: "a/#".into(), ..Sub::default() };
    let unsubscribe = Unsubscribe { patterns: vec!["a/#".into()] };
    let will = Will { topic: "w".into(), payload: vec![0xff], lane: 2, retain: true };
    let resume = Resume { session: 1, epoch: 0x0807_0605_0403_0201, received: vec![LaneCount { lane: 1, count: 300 }] };
    let again = Hello { features: 7, resume: Some(resume.clone()), ..Hello::default() };
    let update = PeerUpdate { version: 3, roles: vec!["role".into()], metadata: [("k".into(), "v".into())].into() };
    let stats = Stats { samples: vec![Sample { name: "a".into(), value: 1.5, ..Sample::default() }], more: false };
    let expected = [
        ("hello", Control::new(Body::Hello(hello))),
        ("welcome", Control::new(Body::Welcome(welcome))),
        ("reject", Control::new(Body::Reject(reject))),
        ("goodbye", Control::new(Body::Goodbye(Goodbye { code: 1, reason: "bye".into(), drain_ms: 0 }))),
        ("declare-topics", Control::request(9, Body::DeclareTopics(DeclareTopics { topics: vec![topic] }))),
        ("subscribe", Control::request(7, Body::Subscribe(Subscribe { subs: vec![sub] }))),
        ("unsubscribe", Control::request(8, Body::Unsubscribe(unsubscribe))),
        ("result-done", Control::answer(7, CloseCode::Normal, "")),
        ("result-refused", Control::answer(9, CloseCode::Forbidden, "no")),
        ("will", Control::new(Body::Hello(Hello { will: Some(will), ..Hello::default() }))),
        ("resume-hello", Control::new(Body::Hello(again))),
        ("resume", Control::new(Body::Resume(resume))),
        ("peer-update", Control::new(Body::PeerUpdate(update))),
        ("stats-request", Control::request(5, Body::StatsRequest(StatsRequest { selector: "lane".into() }))),
        ("stats", Control::request(5, Body::Stats(stats))),
    ];
    let vectors = vectors();
    for (name, control) in expected {
        assert_eq!(Control::decode_body(&vectors[name][16..]).as_ref(), Ok(&control), "{name}");
        assert_eq!(control.to_frame(), vectors[name], "{name}");
    }
}
