use super::replay::{Next, Replay};
use super::*;
use laneway_proto::frame::extensions::{Frag, Src, XHDR_RETAIN};
use laneway_proto::header::Kind;

const XHDR: [u8; 4] = [4, 0, XHDR_RETAIN, 0];

fn publisher(slot: u32) -> Publisher {
    Publisher { shard: 0, key: Key { slot, generation: 1 } }
}

/// One whole message.
fn frame(payload: &[u8]) -> Vec<u8> {
    let header = Header { topic: 70_000, lane: 1, flags: Flags::XHDR, ..Header::new(Kind::PUB, 4 + payload.len()) };
    [&header.encode()[..], &XHDR, payload].concat()
}

/// One fragment of `count`.
fn fragment(seq: u32, index: u16, count: u16, payload: &[u8]) -> Vec<u8> {
    let flags = Flags::XHDR.with(Flags::FRAG).with(Flags::SRC);
    let header = Header { topic: 70_000, lane: 1, flags, ..Header::new(Kind::PUB, 20 + payload.len()) };
    let frag = Frag { index, count, total_len: 1_000 };
    [&header.encode()[..], &frag.encode(), &Src { origin: 9, seq }.encode(), &XHDR, payload].concat()
}

/// A store, and the stamps it gives out.
struct Stage {
    retained: Retained,
    names: Vec<Arc<str>>,
    stamp: u64,
    now: Instant,
}

impl Stage {
    fn new(topics_max: u32, bytes_max: u64, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.into()).collect();
        Self { retained: Retained::new(topics_max, bytes_max), names, stamp: 0, now: Instant(0) }
    }

    fn put(&mut self, topic: u32, frame: &[u8]) -> Kept {
        self.stamp += 1;
        self.put_as(topic, frame, self.stamp, 1, 0)
    }

    fn put_as(&mut self, topic: u32, frame: &[u8], stamp: u64, slot: u32, ttl_ms: u32) -> Kept {
        let name = &self.names[topic as usize];
        let topic = TopicIndex(topic);
        let note = Note { topic, name, publisher: publisher(slot), stamp, lane: 1, ttl_ms, now: self.now };
        self.retained.put(&note, frame)
    }

    /// The payloads that a subscriber of now is sent of a topic, and whether each frame is marked as a replay.
    fn value(&self, topic: u32) -> Vec<(Vec<u8>, bool)> {
        let mut found = Vec::new();
        for piece in self.retained.pieces(TopicIndex(topic), u64::MAX, self.now) {
            let mut rest = piece.frames;
            while let Some(Ok(header)) = rest.first_chunk::<HEADER_BYTES>().map(Header::decode) {
                let (frame, behind) = rest.split_at(usize::from(header.len));
                let (_, payload) = Extensions::decode(header.flags, &frame[HEADER_BYTES..]).expect("valid");
                found.push((payload.to_vec(), header.flags.has(Flags::RETX)));
                rest = behind;
            }
        }
        found
    }

    fn replay(&self, filters: &[&str]) -> Vec<u32> {
        let mut replay = Replay::default();
        replay.add(filters.iter().map(|&filter| filter.into()).collect(), &self.retained);
        let mut found = Vec::new();
        loop {
            // One name at a time: the search has to find its place again.
            match replay.next(&self.retained, &mut 1) {
                Next::Topic(topic, _) => found.push(topic.0),
                Next::Later => {}
                Next::Done => return found,
            }
        }
    }
}

fn replayed(payloads: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
    payloads.iter().map(|payload| (payload.to_vec(), true)).collect()
}

#[test]
fn the_last_value_stays_until_an_empty_message_deletes_it() {
    let mut stage = Stage::new(10, 1_000, &["a"]);
    assert_eq!(stage.put(0, &frame(b"one")), Kept::Stored);
    assert_eq!(stage.put(0, &frame(b"two!")), Kept::Stored);
    assert_eq!(stage.value(0), replayed(&[b"two!"]));
    assert_eq!((stage.retained.topics(), stage.retained.bytes()), (1, 24));
    assert_eq!(stage.put(0, &frame(b"")), Kept::Deleted);
    assert_eq!((stage.value(0), stage.retained.topics(), stage.retained.bytes()), (vec![], 0, 0));
}

#[test]
fn of_two_values_the_one_with_the_later_stamp_stays_in_whichever_order_they_come() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut stage = Stage::new(10, 1_000, &["a"]);
        for stamp in [first, second] {
            stage.put_as(0, &frame(&[stamp as u8]), stamp, 1, 0);
        }
        assert_eq!(stage.value(0), replayed(&[&[2]]));
        stage.put_as(0, &frame(b""), 4, 1, 0);
        assert_eq!(stage.put_as(0, &frame(b"late"), 3, 1, 0), Kept::Outdated);
        assert_eq!(stage.value(0), [], "what was deleted is not revived by an older value");
    }
}

#[test]
fn a_value_that_does_not_fit_is_refused_and_no_false_one_stays() {
    let mut stage = Stage::new(2, 60, &["a", "b", "c"]);
    assert_eq!((stage.put(0, &frame(b"0")), stage.put(1, &frame(b"1"))), (Kept::Stored, Kept::Stored));
    assert_eq!(stage.put(2, &frame(b"2")), Kept::Refused, "a topic too many");
    assert_eq!(stage.put(1, &frame(&[7; 30])), Kept::Refused, "bytes too many");
    assert_eq!((stage.value(0), stage.value(1)), (replayed(&[b"0"]), vec![]));
    assert_eq!(stage.put(2, &frame(b"2")), Kept::Stored, "there is room again");
    assert!(stage.retained.bytes() <= 60);
}

#[test]
fn a_large_value_replaces_the_old_one_only_when_it_is_whole() {
    let mut stage = Stage::new(10, 1_000, &["a"]);
    stage.put(0, &frame(b"old"));
    assert_eq!(stage.put(0, &fragment(5, 0, 3, b"x")), Kept::Part);
    assert_eq!(stage.put(0, &fragment(5, 1, 3, b"y")), Kept::Part);
    let half = [(b"old".to_vec(), true), (b"x".to_vec(), false), (b"y".to_vec(), false)];
    assert_eq!(stage.value(0), half, "who comes now needs the beginning of what goes on");
    assert_eq!(stage.put(0, &fragment(5, 2, 3, b"z")), Kept::Stored);
    assert_eq!(stage.value(0), replayed(&[b"x", b"y", b"z"]));
    assert_eq!(stage.retained.bytes(), 3 * (16 + 20 + 1));
}

#[test]
fn a_message_with_a_hole_leaves_no_value_behind() {
    let mut stage = Stage::new(10, 1_000, &["a"]);
    stage.put(0, &frame(b"old"));
    stage.put(0, &fragment(5, 0, 3, b"x"));
    assert_eq!(stage.put(0, &fragment(5, 2, 3, b"z")), Kept::Refused);
    assert_eq!((stage.value(0), stage.retained.bytes()), (vec![], 0));
}

#[test]
fn what_a_publisher_has_not_finished_goes_with_it() {
    let mut stage = Stage::new(10, 1_000, &["a"]);
    stage.put(0, &fragment(5, 0, 3, b"x"));
    assert!(!stage.retained.forget(publisher(2)));
    assert!(stage.retained.forget(publisher(1)));
    assert_eq!((stage.value(0), stage.retained.bytes()), (vec![], 0));
}

#[test]
fn unfinished_messages_make_room_for_whole_ones() {
    let mut stage = Stage::new(10, 200, &["a", "b"]);
    for slot in 0..9 {
        stage.put_as(0, &fragment(5, 0, 3, b"x"), u64::from(slot) + 1, slot, 0);
        assert!(stage.retained.bytes() <= 200);
    }
    stage.stamp = 20;
    assert_eq!(stage.put(1, &frame(&[7; 150])), Kept::Stored);
    assert_eq!(stage.value(1).len(), 1);
    assert!(stage.retained.bytes() <= 200);
}

#[test]
fn a_value_is_gone_when_its_time_is_over() {
    let mut stage = Stage::new(10, 1_000, &["a", "b"]);
    stage.put_as(0, &frame(b"v"), 1, 1, 100);
    stage.put_as(1, &frame(b"v"), 2, 1, TTL_NEVER);
    stage.now = Instant(0) + laneway_proto::time::Duration::from_millis(40);
    let left = |stage: &Stage, topic| stage.retained.pieces(TopicIndex(topic), 9, stage.now).next().map(|p| p.ttl_ms);
    assert_eq!((left(&stage, 0), left(&stage, 1)), (Some(60), Some(TTL_NEVER)));
    stage.now = Instant(0) + laneway_proto::time::Duration::from_millis(100);
    assert_eq!((left(&stage, 0), left(&stage, 1)), (None, Some(TTL_NEVER)));
    assert!(stage.retained.expire(TopicIndex(0), stage.now) && !stage.retained.expire(TopicIndex(1), stage.now));
    assert_eq!((stage.retained.topics(), stage.retained.bytes()), (1, 21));
}

#[test]
fn a_search_finds_each_matching_topic_once() {
    let names = ["a", "a/b", "a/b/c", "ab", "a/c", "$sys/x", "", "/"];
    let mut stage = Stage::new(100, 10_000, &names);
    for topic in 0..names.len() as u32 {
        stage.put(topic, &frame(b"v"));
    }
    for filters in [&["#"][..], &["a/#"], &["a/+"], &["+"], &["a/b"], &["none"], &["$sys/#"], &["a/#", "+/b", "a/b"]] {
        let mut found = stage.replay(filters);
        found.sort_unstable();
        let wanted = |name: &&str| filters.iter().any(|filter| topic::matches(filter, name));
        let expected: Vec<u32> = (0..).zip(names).filter(|(_, name)| wanted(name)).map(|(topic, _)| topic).collect();
        assert_eq!(found, expected, "{filters:?}");
    }
}

#[test]
fn a_topic_that_changes_during_a_search_is_sent_before_its_change_and_not_again() {
    let mut stage = Stage::new(100, 10_000, &["a", "b", "c", "d"]);
    for topic in 0..3 {
        stage.put(topic, &frame(b"v"));
    }
    let mut replay = Replay::default();
    replay.add(vec!["#".into()], &stage.retained);
    let since = stage.retained.changes();
    assert_eq!(replay.next(&stage.retained, &mut 9), Next::Topic(TopicIndex(0), since));
    assert_eq!(replay.overtake(TopicIndex(0), "a", &stage.retained), None, "it was sent");
    assert_eq!(replay.overtake(TopicIndex(1), "b", &stage.retained), Some(since));
    assert_eq!(replay.overtake(TopicIndex(1), "b", &stage.retained), None, "once");
    stage.put(1, &frame(b"changed"));
    stage.put(3, &frame(b"new"));
    assert_eq!(replay.overtake(TopicIndex(3), "d", &stage.retained), None, "it had no value");
    assert_eq!(replay.next(&stage.retained, &mut 9), Next::Topic(TopicIndex(2), since));
    assert_eq!(replay.next(&stage.retained, &mut 9), Next::Done);
}

#[test]
fn topics_that_come_and_go_leave_nothing_behind() {
    let names: Vec<String> = (0..5_000).map(|topic| format!("t/{topic}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::new(100, 10_000, &names);
    for topic in 0..5_000 {
        stage.put(topic, &frame(b"v"));
        stage.put(topic, &frame(b""));
    }
    let Retained { entries, names, graves, .. } = &stage.retained;
    assert_eq!((entries.len(), names.len(), graves.len()), (GRAVES_MAX, GRAVES_MAX, GRAVES_MAX));
}
