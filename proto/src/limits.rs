//! Every bound of the protocol, with its unit, checked against its neighbours at compile time.

/// Version of the fixed layouts in this crate.
pub const WIRE_VERSION: u8 = 1;
/// Bytes of the frame header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the smallest frame: a header and nothing else.
pub const FRAME_BYTES_MIN: usize = HEADER_BYTES;
/// Bytes of the largest frame, header included; the length field is 16 bits wide.
pub const FRAME_BYTES_MAX: usize = 65_535;
/// Bytes of one extension block (TS, FRAG, CORR, SRC).
pub const EXTENSION_BYTES: usize = 8;
/// Bytes of the preface that opens a stream link, each way.
pub const PREFACE_BYTES: usize = 8;

/// Bytes of one message a peer may publish, unless the broker says otherwise in its WELCOME.
pub const MESSAGE_BYTES_MAX_DEFAULT: u32 = 1024 * 1024;
/// Bytes of one message that a broker can be configured to allow at most.
pub const MESSAGE_BYTES_MAX_CEILING: u32 = 16 * 1024 * 1024;
/// Payload bytes of one fragment on TCP and Unix links; every fragment but the last carries exactly this many.
pub const FRAGMENT_BYTES_STREAM: usize = 16 * 1024;
/// Fragments one message may be cut into.
pub const FRAGMENTS_MAX: u16 = u16::MAX;

/// Lanes of one session; lane numbers are below this.
pub const LANES_MAX: usize = 16;
/// Bytes of a lane's name.
pub const LANE_NAME_BYTES_MAX: usize = 16;
/// Priority classes of lanes; class numbers are below this, and 0 comes first.
pub const LANE_CLASSES: usize = 8;
/// Bytes a peer may send on a lane before its first CREDIT, unless HELLO or WELCOME says otherwise.
pub const LANE_CREDIT_BYTES_DEFAULT: u64 = 1024 * 1024;
/// Milliseconds without an accepted message after which a key of a US lane takes any number.
pub const SEQUENCE_STALE_MS: u32 = 10_000;
/// Brokers a frame may pass; a frame that arrives with this many hops is dropped.
pub const HOPS_MAX: u8 = 8;
/// Entries of one CREDIT, COUNT or CONFIRM frame: every lane that carries data, once.
pub const HOT_ENTRIES_MAX: usize = LANES_MAX - 1;
/// Milliseconds after which the first data or LOST frame of a reliable lane that was not counted yet is counted.
pub const COUNT_MS_MAX: u32 = 20;
/// Frames of reliable lanes that may arrive before they are counted.
pub const COUNT_FRAMES_MAX: u32 = 64;
/// Milliseconds a session outlives its link, unless WELCOME says otherwise.
pub const RESUME_GRACE_MS_DEFAULT: u32 = 10_000;
/// Messages in one BATCH frame.
pub const BATCH_MESSAGES_MAX: u16 = 4_095;

/// Bytes of a topic name or filter.
pub const TOPIC_BYTES_MAX: usize = 255;
/// First topic id a session may declare; smaller ones are predefined by configuration.
pub const TOPIC_ID_DYNAMIC_FIRST: u32 = 65_536;
/// Topic ids one session may declare.
pub const TOPICS_PER_SESSION_MAX: u32 = 65_536;
/// Topics a broker interns in its life, unless configured otherwise; ids are never reused while it runs.
pub const TOPICS_MAX_DEFAULT: u32 = 262_144;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: u32 = 16_384;

/// Bytes of one encoded control message: it travels in a single frame.
pub const CONTROL_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;
/// Bytes of a session's metadata, keys and values together.
pub const METADATA_BYTES_MAX: usize = 4_096;
/// Payload bytes of a will, which is part of HELLO.
pub const WILL_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a node id.
pub const NODE_ID_BYTES: usize = 16;
/// Bytes of a network id.
pub const NETWORK_ID_BYTES_MAX: usize = 64;
/// Malformed control messages a peer may send within one second before its session is closed.
pub const MALFORMED_PER_SECOND_MAX: u8 = 3;

/// Milliseconds a peer has to finish preface and handshake, unless configured otherwise.
pub const HANDSHAKE_MS_MAX_DEFAULT: u32 = 5_000;
/// Milliseconds a frame may stay incomplete once its first byte arrived, unless configured otherwise.
pub const PARTIAL_FRAME_MS_MAX_DEFAULT: u32 = 10_000;

const _: () = assert!(FRAME_BYTES_MIN <= FRAME_BYTES_MAX, "an empty frame fits");
const _: () = assert!(FRAME_BYTES_MAX == u16::MAX as usize, "the length field is exactly used up");
const _: () = assert!(
    HEADER_BYTES + 4 * EXTENSION_BYTES + 256 + FRAGMENT_BYTES_STREAM <= FRAME_BYTES_MAX,
    "a full fragment with every extension fits one frame"
);
const _: () = assert!(
    (MESSAGE_BYTES_MAX_CEILING as usize).div_ceil(FRAGMENT_BYTES_STREAM) <= FRAGMENTS_MAX as usize,
    "the largest message fits the fragment counter"
);
const _: () = assert!(MESSAGE_BYTES_MAX_DEFAULT <= MESSAGE_BYTES_MAX_CEILING, "the default message size is allowed");
const _: () = assert!(LANES_MAX <= 16, "lane numbers fit the lane bitmaps");
const _: () = assert!(
    HEADER_BYTES + 4 + BATCH_MESSAGES_MAX as usize * 2 <= FRAME_BYTES_MAX,
    "a batch of empty messages fits one frame"
);
const _: () =
    assert!(TOPICS_PER_SESSION_MAX <= TOPICS_MAX_DEFAULT, "one session cannot exhaust the intern table alone");
const _: () = assert!(METADATA_BYTES_MAX * 4 + WILL_BYTES_MAX < CONTROL_BYTES_MAX, "the rest of HELLO has room, too");
