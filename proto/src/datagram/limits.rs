//! Bounds of the protocol on datagram links, with their units; `docs/UDP.md` lists them.

use crate::limits::HEADER_BYTES;

/// Bytes of the header in front of the frames of a datagram.
pub const DATAGRAM_HEADER_BYTES: usize = 16;
/// Bytes of the CRC-32C behind the frames, where both sides use it.
pub const DATAGRAM_CRC_BYTES: usize = 4;
/// Bytes of a datagram that every path carries; a HELLO is never shorter.
pub const DATAGRAM_BYTES_MIN: usize = 1_200;
/// Bytes of a datagram on Ethernet with IPv4, where nothing else is configured.
pub const DATAGRAM_BYTES_DEFAULT: usize = 1_472;
/// Bytes of the largest datagram.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Datagrams behind the newest one of a session that are told apart: older ones are taken for duplicates.
pub const RECEIVE_WINDOW_DATAGRAMS: u32 = 1_024;
/// The same for the datagrams of one broadcast sender.
pub const REPLAY_WINDOW_DATAGRAMS: u32 = 128;
/// Steps that a datagram number may be ahead of the newest one.
pub const DATAGRAM_NUMBER_STEP_MAX: u32 = 1 << 20;
/// Frames of a reliable lane that may be under way, unless the peer says otherwise; counted from the oldest one that is
/// not acknowledged.
pub const WINDOW_FRAMES_DEFAULT: u32 = 1_023;

/// Ranges of one ACK.
pub const ACK_RANGES_MAX: usize = 32;
/// Microseconds that an acknowledgement may wait.
pub const ACK_DELAY_US_MAX: u64 = 2_000;
/// Datagrams that ask for an acknowledgement and are answered with one together.
pub const ACK_EVERY_DATAGRAMS: u32 = 2;
/// Milliseconds that a round trip is taken to last before one was measured.
pub const RTT_MS_INITIAL: u32 = 100;
/// Milliseconds between two probes at most.
pub const PROBE_MS_MAX: u32 = 1_000;
/// Later datagrams that have to arrive before a missing one is taken for lost, on a path that keeps them in order.
pub const REORDER_DATAGRAMS: u32 = 3;
/// Times that a frame longer than the shortest datagram is sent before its path is taken for too narrow.
pub const SENDS_MAX: u8 = 32;
/// Datagrams sent back to back at most.
pub const BURST_DATAGRAMS: u32 = 16;

/// Fragments of a message on an unreliable lane.
pub const UNRELIABLE_FRAGMENTS_MAX: u16 = 16;
/// Messages of one source and unreliable lane that may be incomplete at a time: the oldest goes.
pub const PARTIAL_MESSAGES_MAX: usize = 4;
/// Milliseconds after which an incomplete message of an unreliable lane goes, if three round trips are shorter.
pub const PARTIAL_MS_MIN: u32 = 200;

/// Milliseconds without a datagram after which a session is over, while something is outstanding.
pub const DEAD_AFTER_MS_DEFAULT: u32 = 3_000;
/// Milliseconds of silence after which a session asks for a sign of life.
pub const KEEPALIVE_MS_DEFAULT: u32 = 1_000;
/// Milliseconds after which the first HELLO is repeated; each further pause is twice as long.
pub const HELLO_MS_FIRST: u32 = 100;
/// Milliseconds between two HELLOs at most.
pub const HELLO_MS_MAX: u32 = 500;
/// HELLOs of one length before a shorter one is tried.
pub const HELLOS_PER_LENGTH: u32 = 3;
/// Milliseconds that a cookie is good for at least, and half of what it is good for at most.
pub const COOKIE_MS: u32 = 16_000;

/// Ranges of one NAK.
pub const NAK_RANGES_MAX: usize = 32;
/// Times that a receiver asks for one missing number.
pub const NAKS_MAX: u8 = 10;
/// Milliseconds between two requests for the same number at most.
pub const NAK_MS_MAX: u32 = 1_000;
/// Microseconds over which receivers spread their first request for a number at least; otherwise four round trips.
pub const NAK_SPREAD_US_MIN: u64 = 2_000;
/// Milliseconds of silence after which a source says how far a stream has come; each further pause is twice as long.
pub const HEARTBEAT_MS_FIRST: u32 = 20;
/// Milliseconds between two heartbeats at most.
pub const HEARTBEAT_MS_MAX: u32 = 1_000;
/// Milliseconds after a repair in which requests for the same number are ignored.
pub const REPAIR_LINGER_MS: u32 = 10;
/// Bytes of frames that a source keeps for repairs, unless configured otherwise.
pub const REPAIR_BYTES_DEFAULT: u32 = 4 * 1024 * 1024;
/// Milliseconds that a source keeps a frame for repairs, unless configured otherwise.
pub const REPAIR_MS_DEFAULT: u32 = 2_000;
/// Percent of a source's rate that repairs may use, unless configured otherwise.
pub const REPAIR_PERCENT_DEFAULT: u32 = 25;
/// Numbers of a broadcast stream ahead of the first missing one that a receiver can tell apart.
pub const BROADCAST_WINDOW_FRAMES: u32 = 2_047;
/// Percent of a source's frames that a receiver may ask for again before it is told to use a session.
pub const DEMOTE_PERCENT: u32 = 20;
/// Milliseconds over which those are counted.
pub const DEMOTE_MS: u32 = 5_000;

/// Instructions of a socket filter: the kernel takes no more.
pub const FILTER_INSTRUCTIONS_MAX: usize = 4_096;
/// Tags up to which a socket filter compares one after the other; beyond, it searches.
pub const FILTER_LINEAR_TAGS_MAX: usize = 64;

const _: () = assert!(DATAGRAM_BYTES_MIN <= DATAGRAM_BYTES_DEFAULT, "the usual path is no narrower than the narrowest");
const _: () = assert!(DATAGRAM_BYTES_DEFAULT <= DATAGRAM_BYTES_MAX, "the usual datagram is a datagram");
const _: () = assert!(RECEIVE_WINDOW_DATAGRAMS % 64 == 0, "the window is whole words");
const _: () = assert!(REPLAY_WINDOW_DATAGRAMS % 64 == 0, "the window is whole words");
const _: () = assert!(DATAGRAM_NUMBER_STEP_MAX < u32::MAX / 2, "ahead and behind are told apart");
const _: () = assert!(
    DATAGRAM_HEADER_BYTES + HEADER_BYTES + 8 + 4 * ACK_RANGES_MAX + DATAGRAM_CRC_BYTES < DATAGRAM_BYTES_MIN / 2,
    "the longest ACK leaves more than half of a datagram"
);
const _: () = assert!(UNRELIABLE_FRAGMENTS_MAX as u32 <= u16::BITS, "a fragment has a bit each");
const _: () = assert!(PROBE_MS_MAX < DEAD_AFTER_MS_DEFAULT, "a dead peer was asked before it is given up");
const _: () = assert!(BROADCAST_WINDOW_FRAMES + 1 == 2_048, "the window and one number more are whole words");
