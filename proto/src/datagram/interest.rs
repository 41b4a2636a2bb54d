//! What a broadcast datagram is about, in 32 bits that the kernel can compare before anybody wakes up.
//!
//! `tag = hash16(first level) << 16 | hash16(whole name)`, where `hash16` is FNV-1a-32 folded to 16 bits, 0 being taken for 1. A
//! low half of 0 says "several topics below one first level", 0 in all "anything". Different topics may share a tag: it
//! rejects early, the topic decides.

/// The tag of datagrams that may be about anything.
pub const ANYTHING: u32 = 0;

/// FNV-1a, 32 bits.
pub const fn fnv1a32(bytes: &[u8]) -> u32 {
    let (mut hash, mut at) = (0x811C_9DC5u32, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// FNV-1a-32 folded to 16 bits; never 0.
pub const fn hash16(bytes: &[u8]) -> u16 {
    let hash = fnv1a32(bytes);
    let folded = (hash >> 16 ^ hash & 0xFFFF) as u16;
    if folded == 0 { 1 } else { folded }
}

fn first_level(text: &str) -> &str {
    text.split('/').next().unwrap_or(text)
}

/// The tag of a datagram that is about one topic.
pub fn topic_tag(name: &str) -> u32 {
    group_tag(name) | u32::from(hash16(name.as_bytes()))
}

/// The tag of a datagram that is about several topics, which share the first level of `name`.
pub fn group_tag(name: &str) -> u32 {
    u32::from(hash16(first_level(name).as_bytes())) << 16
}

/// What a subscription wants to see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Interest {
    /// One topic, by its tag.
    Topic(u32),
    /// All topics below a first level, by the high half of their tags.
    Group(u16),
    /// Everything.
    Everything,
}

impl Interest {
    /// Of a valid topic filter.
    pub fn of(filter: &str) -> Self {
        let first = first_level(filter);
        if matches!(first, "+" | "#") {
            Self::Everything
        } else if filter.split('/').any(|level| matches!(level, "+" | "#")) {
            Self::Group(hash16(first.as_bytes()))
        } else {
            Self::Topic(topic_tag(filter))
        }
    }

    /// Whether a datagram with this tag may hold something of interest. Groups are never 0, so a high half of 0 says
    /// "anything", whatever the low half is.
    pub const fn may_match(self, tag: u32) -> bool {
        tag >> 16 == ANYTHING
            || match self {
                Self::Topic(topic) => tag == topic || tag == topic & 0xFFFF_0000,
                Self::Group(group) => (tag >> 16) as u16 == group,
                Self::Everything => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_the_specification() {
        let name = "sensors/imu/left/accel_x";
        assert_eq!(fnv1a32(name.as_bytes()), 0x12A5_8052);
        assert_eq!((hash16(name.as_bytes()), hash16(b"sensors")), (0x92F7, 0x514F));
        assert_eq!((topic_tag(name), group_tag(name)), (0x514F_92F7, 0x514F_0000));
        assert_eq!(fnv1a32(b""), 0x811C_9DC5);
    }

    #[test]
    fn a_filter_is_interested_in_a_topic_a_group_or_everything() {
        let tag = topic_tag("a/b");
        assert_eq!(Interest::of("a/b"), Interest::Topic(tag));
        let group = Interest::Group(hash16(b"a"));
        assert_eq!(["a/#", "a/+", "a/+/c", "a/b/#"].map(Interest::of), [group; 4]);
        assert_eq!(["#", "+", "+/b", "+/#"].map(Interest::of), [Interest::Everything; 4]);
        for interest in [Interest::of("a/b"), group, Interest::Everything] {
            assert!(interest.may_match(tag) && interest.may_match(group_tag("a/c")) && interest.may_match(ANYTHING));
        }
        assert!(!Interest::of("a/b").may_match(topic_tag("a/c")) && group.may_match(topic_tag("a/c")));
        assert!(!group.may_match(topic_tag("c/b")) && group.may_match(topic_tag("a")), "a/# takes a");
        assert!(!Interest::of("a/b").may_match(group_tag("c")));
    }
}
