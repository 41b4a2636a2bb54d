//! Socket filters beside the rule they stand for: an interpreter of the kernel's instructions runs each program, and it
//! accepts what the interests may match, never less.
//!
//! `LANEWAY_LONG=1` draws ten million pairs of topic and filter instead of a few thousand.

use laneway_proto::datagram::filter::{ACCEPT, Instruction, Precision, code, compile, scratch_words};
use laneway_proto::datagram::header::{DatagramHeader, Form};
use laneway_proto::datagram::interest::{ANYTHING, Interest, group_tag, topic_tag};
use laneway_proto::datagram::limits::FILTER_INSTRUCTIONS_MAX;
use laneway_proto::topic::{check_filter, check_name, matches};

/// What the kernel would do with a packet that begins with its UDP header; bytes kept.
///
/// # Panics
/// If the kernel would refuse the program: a jump behind its end, an unknown instruction, no return at the end.
fn run(program: &[Instruction], packet: &[u8]) -> u32 {
    let (mut at, mut register, mut steps) = (0, 0u32, 0);
    loop {
        let Instruction { code, jump_true, jump_false, k } = program[at];
        let load = |bytes: usize| packet.get(k as usize..k as usize + bytes);
        let value = |bytes: Option<&[u8]>| bytes.map(|bytes| bytes.iter().fold(0, |all, &b| all << 8 | u32::from(b)));
        let jump = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
        at += 1;
        steps += 1;
        assert!(steps <= program.len(), "it only jumps forward");
        match code {
            code::LOAD_WORD | code::LOAD_HALF | code::LOAD_BYTE => {
                let bytes = [(code::LOAD_WORD, 4), (code::LOAD_HALF, 2), (code::LOAD_BYTE, 1)];
                let bytes = bytes.iter().find(|(of, _)| *of == code).expect("a load").1;
                match value(load(bytes)) {
                    Some(value) => register = value,
                    // A load behind the packet's end drops it.
                    None => return 0,
                }
            }
            code::JUMP => at += k as usize,
            code::JUMP_EQUAL => at += jump(register == k),
            code::JUMP_NOT_LESS => at += jump(register >= k),
            code::RETURN => return k,
            _ => panic!("instruction {code:#x} is not one of ours"),
        }
    }
}

fn packet(tag: u32) -> Vec<u8> {
    let header =
        DatagramHeader { form: Form::Broadcast { tag, sender: 7 }, ack_me: false, crc: false, epoch: 1, number: 3 };
    [&[0x12, 0x34, 0x14, 0x8F, 0, 40, 0, 0][..], &header.encode(), &[0; 16]].concat()
}

fn compiled(interests: &[Interest]) -> (Vec<Instruction>, Precision) {
    let mut out = [Instruction::default(); FILTER_INSTRUCTIONS_MAX];
    let (program, precision) = compile(interests, &mut vec![0; scratch_words(interests.len())], &mut out);
    let last = program.last().expect("a program");
    assert!(last.code == code::RETURN && program.len() <= FILTER_INSTRUCTIONS_MAX);
    (program.to_vec(), precision)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(bound)) >> 32) as u32
    }
}

/// A set whose tags lie so close together that a wrong comparison shows.
fn interests(random: &mut Random, topics: u32, groups: u32) -> Vec<Interest> {
    let mut tag = || (1 + random.below(300)) << 16 | (1 + random.below(300));
    let topics = (0..topics).map(|_| Interest::Topic(tag())).collect::<Vec<_>>();
    let groups = (0..groups).map(|_| Interest::Group((tag() >> 16) as u16));
    topics.into_iter().chain(groups).collect()
}

#[test]
fn a_program_accepts_exactly_what_the_interests_may_match() {
    let mut random = Random(5);
    for (topics, groups) in
        [(0, 0), (1, 0), (0, 1), (3, 2), (63, 0), (64, 64), (65, 1), (300, 90), (1_000, 0), (1_500, 200)]
    {
        let interests = interests(&mut random, topics, groups);
        let (program, precision) = compiled(&interests);
        assert_eq!(precision, Precision::Exact, "{topics} topics and {groups} groups");
        let near = interests.iter().map(|interest| match *interest {
            Interest::Topic(tag) => tag,
            Interest::Group(group) => u32::from(group) << 16,
            Interest::Everything => ANYTHING,
        });
        let tags: Vec<u32> = near.flat_map(|tag| [tag, tag + 1, tag - 1, tag & 0xFFFF_0000, tag ^ 0x1_0000]).collect();
        let drawn = (0..2_000).map(|_| random.below(301) << 16 | random.below(301)).collect::<Vec<_>>();
        for tag in tags.into_iter().chain(drawn).chain([ANYTHING, u32::MAX]) {
            let wanted = tag >> 16 == ANYTHING || interests.iter().any(|interest| interest.may_match(tag));
            let kept = run(&program, &packet(tag));
            assert_eq!(kept, if wanted { ACCEPT } else { 0 }, "tag {tag:#010x}, {topics} topics, {groups} groups");
        }
        let mut other = packet(ANYTHING);
        other[8] = 0xB2;
        assert_eq!(run(&program, &other), 0, "another version");
        assert_eq!(run(&program, &packet(ANYTHING)[..13]), 0, "cut off");
    }
}

#[test]
fn too_many_topics_become_groups_and_too_many_groups_everything() {
    let spread = |count: u32| (1..=count).map(|at| Interest::Topic(at << 16 | 1)).collect::<Vec<_>>();
    let many_in_few: Vec<_> = (1..=3_900).map(|at: u32| Interest::Topic((at % 9 + 1) << 16 | at)).collect();
    assert_eq!(compiled(&spread(1_600)).1, Precision::Exact, "two words each");
    let (program, precision) = compiled(&many_in_few);
    assert_eq!(precision, Precision::Groups);
    assert_eq!((run(&program, &packet(0x0009_FFFF)), run(&program, &packet(0x000A_0001))), (ACCEPT, 0));
    let (program, precision) = compiled(&spread(4_000));
    assert_eq!((precision, run(&program, &packet(0x7777_7777))), (Precision::Everything, ACCEPT));
    let (program, precision) = compiled(&[Interest::Topic(5), Interest::Everything]);
    assert_eq!((precision, run(&program, &packet(0x7777_7777)), program.len()), (Precision::Everything, ACCEPT, 4));
}

/// A name of one to four short levels, or a filter if wildcards are wanted.
fn text(random: &mut Random, wildcards: bool) -> String {
    let levels = 1 + random.below(4);
    let mut text = String::new();
    for level in 0..levels {
        if level > 0 {
            text.push('/');
        }
        match random.below(12) {
            0 if wildcards && level + 1 == levels => text.push('#'),
            1 | 2 if wildcards => text.push('+'),
            _ => text.push_str(["a", "b", "c", "", "sensors", "$sys"][random.below(6) as usize]),
        }
    }
    if text.is_empty() { "a".to_owned() } else { text }
}

#[test]
fn no_filter_ever_rejects_a_topic_it_matches() {
    let pairs = if std::env::var_os("LANEWAY_LONG").is_some() { 10_000_000 } else { 50_000 };
    let seed = 11;
    println!("seed {seed}, {pairs} pairs");
    let (mut random, mut matched, mut rejected) = (Random(seed), 0u32, 0u32);
    let (mut out, mut scratch) = ([Instruction::default(); FILTER_INSTRUCTIONS_MAX], [0; scratch_words(1)]);
    for _ in 0..pairs {
        let (filter, name) = (text(&mut random, true), text(&mut random, false));
        if check_filter(&filter).is_err() || check_name(&name).is_err() {
            continue;
        }
        let (program, _) = compile(&[Interest::of(&filter)], &mut scratch, &mut out);
        for tag in [topic_tag(&name), group_tag(&name), ANYTHING] {
            let kept = run(program, &packet(tag)) != 0;
            assert!(kept || !matches(&filter, &name), "{filter} matches {name}, but its program drops {tag:#010x}");
            rejected += u32::from(!kept);
        }
        matched += u32::from(matches(&filter, &name));
    }
    assert!(matched > pairs / 100 && rejected > pairs / 2, "{matched} matched, {rejected} rejected");
}
