//! Socket filters (classic BPF) that reject broadcast datagrams nobody here is interested in, before they wake anybody.
//!
//! The program sees the datagram from its UDP header on, so byte `n` of the datagram is at `8 + n`; it reads words
//! big-endian, so tags are compared with their bytes swapped.
//!
//! ```text
//!       ldb [8]; jne 0xB1 -> drop
//!       ldw [12]; the tag of a topic, or of a mix below its first level? -> accept
//!       ldh [14]; the group of a wildcard, or 0? -> accept
//! drop: ret 0
//! ```
//! Few tags are compared one after the other, many by binary search. If the program would be longer than the kernel takes,
//! topics are widened to their groups, and at last everything is let through: never too little.

use super::header::MAGIC_VERSION;
use super::interest::Interest;
use super::limits::{FILTER_INSTRUCTIONS_MAX, FILTER_LINEAR_TAGS_MAX};

/// One instruction, as the kernel's `sock_filter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jump_true: u8,
    /// Instructions to skip if it does not.
    pub jump_false: u8,
    /// The constant.
    pub k: u32,
}

/// The instructions' codes.
pub mod code {
    /// Loads a big-endian word.
    pub const LOAD_WORD: u16 = 0x20;
    /// Loads a big-endian half word.
    pub const LOAD_HALF: u16 = 0x28;
    /// Loads a byte.
    pub const LOAD_BYTE: u16 = 0x30;
    /// Skips `k` instructions.
    pub const JUMP: u16 = 0x05;
    /// Compares for equality with `k`.
    pub const JUMP_EQUAL: u16 = 0x15;
    /// Compares for not less than `k`.
    pub const JUMP_NOT_LESS: u16 = 0x35;
    /// Ends: this many bytes of the datagram are kept, 0 drops it.
    pub const RETURN: u16 = 0x06;
}

/// What an accepting program returns: all of the datagram.
pub const ACCEPT: u32 = u32::MAX;

/// How closely a program follows the interests it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// It accepts what [`Interest::may_match`] says.
    Exact,
    /// There were too many topics: it accepts whole groups.
    Groups,
    /// There were too many groups, or something wants everything: it accepts all datagrams of this protocol.
    Everything,
}

/// Bytes of the UDP header in front of the datagram.
const UDP_HEADER_BYTES: u32 = 8;
const TAG_AT: u32 = UDP_HEADER_BYTES + 4;
const GROUP_AT: u32 = UDP_HEADER_BYTES + 6;
/// Tags that the leaves of a search compare one after the other.
const LEAF_TAGS_MAX: usize = 32;
/// Instructions besides the two searches.
const FRAME_INSTRUCTIONS: usize = 6;
const _: () = assert!(FILTER_LINEAR_TAGS_MAX < 255, "jumps inside a leaf fit their byte");

/// Words of scratch that [`compile`] needs for so many interests.
pub const fn scratch_words(interests: usize) -> usize {
    2 * interests + 1
}

/// Writes the program that accepts what `interests` may match; returns its instructions and how close it is.
///
/// # Panics
/// If `scratch` is shorter than [`scratch_words`] says.
pub fn compile<'a>(
    interests: &[Interest],
    scratch: &mut [u32],
    out: &'a mut [Instruction; FILTER_INSTRUCTIONS_MAX],
) -> (&'a [Instruction], Precision) {
    let everything = interests.contains(&Interest::Everything);
    for precision in [Precision::Exact, Precision::Groups] {
        if everything {
            break;
        }
        let (words, groups) = keys(interests, precision, scratch);
        let program = FRAME_INSTRUCTIONS + search_len(words.len()) + search_len(groups.len());
        if program <= FILTER_INSTRUCTIONS_MAX {
            let len = write(words, groups, out);
            return (&out[..len], precision);
        }
    }
    let mut writer = Emitter { out, len: 0 };
    writer.magic();
    writer.emit(code::RETURN, ACCEPT);
    let len = writer.len;
    (&out[..len], Precision::Everything)
}

/// The sorted constants of the two searches: tags with their bytes swapped, and groups with theirs.
fn keys<'a>(interests: &[Interest], precision: Precision, scratch: &'a mut [u32]) -> (&'a [u32], &'a [u32]) {
    let exact = precision == Precision::Exact;
    let (mut words, mut total) = (0, 0);
    let mut push = |word: u32| {
        scratch[total] = word;
        total += 1;
        total
    };
    for interest in interests {
        if let (Interest::Topic(tag), true) = (interest, exact) {
            push(tag.swap_bytes());
            words = push((tag & 0xFFFF_0000).swap_bytes());
        }
    }
    let group_key = |group: u16| u32::from(group.swap_bytes());
    push(0);
    for interest in interests {
        match *interest {
            Interest::Group(group) => push(group_key(group)),
            Interest::Topic(tag) if !exact => push(group_key((tag >> 16) as u16)),
            Interest::Topic(_) | Interest::Everything => continue,
        };
    }
    let (words, groups) = scratch[..total].split_at_mut(words);
    (sorted(words), sorted(groups))
}

/// Sorts, and drops what stands there twice.
fn sorted(keys: &mut [u32]) -> &[u32] {
    keys.sort_unstable();
    let mut len = 0;
    for at in 0..keys.len() {
        if len == 0 || keys[len - 1] != keys[at] {
            keys[len] = keys[at];
            len += 1;
        }
    }
    &keys[..len]
}

fn write(words: &[u32], groups: &[u32], out: &mut [Instruction; FILTER_INSTRUCTIONS_MAX]) -> usize {
    let mut writer = Emitter { out, len: 0 };
    writer.magic();
    writer.emit(code::LOAD_WORD, TAG_AT);
    writer.search(words);
    writer.emit(code::LOAD_HALF, GROUP_AT);
    writer.search(groups);
    writer.emit(code::RETURN, 0);
    writer.len
}

/// Instructions of a search among so many keys.
const fn search_len(keys: usize) -> usize {
    if keys == 0 {
        0
    } else if keys <= FILTER_LINEAR_TAGS_MAX {
        keys + 2
    } else {
        tree_len(keys)
    }
}

const fn tree_len(keys: usize) -> usize {
    if keys <= LEAF_TAGS_MAX { keys + 2 } else { 2 + tree_len(keys / 2) + tree_len(keys - keys / 2) }
}

struct Emitter<'a> {
    out: &'a mut [Instruction; FILTER_INSTRUCTIONS_MAX],
    len: usize,
}

impl Emitter<'_> {
    fn push(&mut self, code: u16, jump_true: usize, jump_false: usize, k: u32) {
        debug_assert!(jump_true < 256 && jump_false < 256, "a jump of {jump_true} or {jump_false} is too far");
        self.out[self.len] = Instruction { code, jump_true: jump_true as u8, jump_false: jump_false as u8, k };
        self.len += 1;
    }

    fn emit(&mut self, code: u16, k: u32) {
        self.push(code, 0, 0, k);
    }

    fn magic(&mut self) {
        self.emit(code::LOAD_BYTE, UDP_HEADER_BYTES);
        self.push(code::JUMP_EQUAL, 1, 0, u32::from(MAGIC_VERSION));
        self.emit(code::RETURN, 0);
    }

    /// Accepts if one of the keys was loaded; otherwise goes on behind.
    fn search(&mut self, keys: &[u32]) {
        let end = self.len + search_len(keys.len());
        match keys.len() {
            0 => {}
            1..=FILTER_LINEAR_TAGS_MAX => self.leaf(keys, end),
            _ => self.tree(keys, end),
        }
        debug_assert!(self.len == end, "a search of {} keys is as long as announced", keys.len());
    }

    fn tree(&mut self, keys: &[u32], end: usize) {
        if keys.len() <= LEAF_TAGS_MAX {
            return self.leaf(keys, end);
        }
        let (left, right) = keys.split_at(keys.len() / 2);
        self.push(code::JUMP_NOT_LESS, 0, 1, right[0]);
        self.emit(code::JUMP, tree_len(left.len()) as u32);
        self.tree(left, end);
        self.tree(right, end);
    }

    fn leaf(&mut self, keys: &[u32], end: usize) {
        for (at, &key) in keys.iter().enumerate() {
            self.push(code::JUMP_EQUAL, keys.len() - at, 0, key);
        }
        self.emit(code::JUMP, (end - self.len - 1) as u32);
        self.emit(code::RETURN, ACCEPT);
    }
}
