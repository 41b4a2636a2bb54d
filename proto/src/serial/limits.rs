//! Every bound of the serial link, with its unit, checked against its neighbours at compile time.

use crate::lane::table::CONTROL_LANE;

/// Bytes of the frame header.
pub const SERIAL_HEADER_BYTES: usize = 5;
/// Bytes of the CRC that ends a frame.
pub const SERIAL_CRC_BYTES: usize = 4;
/// Bytes of the smallest frame, without an address.
pub const SERIAL_FRAME_BYTES_MIN: usize = SERIAL_HEADER_BYTES + SERIAL_CRC_BYTES;
/// Bytes of the largest frame: address, header, FRAG, TS, REQ, payload, CRC.
pub const SERIAL_FRAME_BYTES_MAX: usize = 1 + SERIAL_HEADER_BYTES + 2 + 4 + 3 + SERIAL_MTU_MAX + SERIAL_CRC_BYTES;
/// Bytes of the largest LINK frame, without an address; every receiver has room for one.
pub const SERIAL_LINK_BYTES_MAX: usize = 128;
/// Lanes of a link; lane numbers are below this.
pub const SERIAL_LANES_MAX: usize = 8;
/// Frames under way on a lane.
pub const SERIAL_WINDOW_MAX: usize = 16;
/// Payload bytes of a frame that everybody takes.
pub const SERIAL_MTU_MIN: usize = 32;
/// Payload bytes of a frame at most.
pub const SERIAL_MTU_MAX: usize = 1_024;
/// Bytes of a name in HELLO.
pub const SERIAL_NAME_BYTES_MAX: usize = 24;

/// Milliseconds between two HELLO.
pub const SERIAL_HELLO_MS: u32 = 250;
/// Milliseconds of silence after a RESET that trying again does not help against.
pub const SERIAL_REFUSED_MS: u32 = 5_000;
/// Milliseconds without a good frame after which a session is given up.
pub const SERIAL_DEAD_MS_DEFAULT: u32 = 1_500;
/// The least that may be asked for in its place.
pub const SERIAL_DEAD_MS_MIN: u32 = 100;
/// Bad frames in a row after which a session is given up.
pub const SERIAL_BAD_FRAMES_MAX: u8 = 10;
/// Milliseconds of silence after which a zero goes ahead of a frame.
pub const SERIAL_IDLE_MS: u32 = 10;
/// Milliseconds without an accepted frame after which an unreliable lane takes any number.
pub const SERIAL_STALE_MS: u32 = 1_000;
/// Milliseconds that the first timer waits, and three frame times.
pub const SERIAL_RTO_MS_FIRST: u32 = 40;
/// Milliseconds that a timer waits at most.
pub const SERIAL_RTO_MS_MAX: u32 = 1_000;
/// Microseconds before the driver has sent everything, when it gets another frame.
pub const SERIAL_LEAD_US: u32 = 2_000;
/// Microseconds of airtime in the driver, if that is more than two frames.
pub const SERIAL_BELOW_US_MAX: u32 = 4_000;
/// Milliseconds in which a device begins its turn on a half-duplex line.
pub const SERIAL_TURN_MS: u32 = 5;

/// Fragments of a message.
pub const SERIAL_FRAGMENTS_MAX: u8 = u8::MAX;
/// Fragments of a message of an unreliable lane.
pub const SERIAL_FRAGMENTS_UNRELIABLE_MAX: u8 = 16;
/// Highest address of a device on a half-duplex line.
pub const SERIAL_ADDRESS_MAX: u8 = 127;
/// First topic id that a device binds freely; smaller ones are predefined.
pub const SERIAL_TOPIC_DEVICE_FIRST: u16 = 0x4000;
/// First topic id that a host binds.
pub const SERIAL_TOPIC_HOST_FIRST: u16 = 0x8000;

const _: () = assert!(SERIAL_LANES_MAX <= 8, "a lane's number is three bits");
const _: () = assert!(SERIAL_WINDOW_MAX <= 16, "an ACK's map is 16 bits");
const _: () = assert!(SERIAL_LINK_BYTES_MAX < 254, "a LINK frame is one run of COBS at most");
const _: () = assert!(
    SERIAL_HEADER_BYTES + 29 + 6 * SERIAL_LANES_MAX + 1 + SERIAL_NAME_BYTES_MAX + SERIAL_CRC_BYTES
        <= SERIAL_LINK_BYTES_MAX,
    "the longest HELLO fits a LINK frame"
);
const _: () = assert!(
    SERIAL_FRAME_BYTES_MIN + 1 + 5 * SERIAL_LANES_MAX <= SERIAL_LINK_BYTES_MAX,
    "an ACK of every lane fits every receiver"
);
const _: () = assert!(SERIAL_LEAD_US < SERIAL_BELOW_US_MAX, "small frames do not let the line fall idle");
const _: () = assert!(CONTROL_LANE == 0, "CTRL is on lane 0");
