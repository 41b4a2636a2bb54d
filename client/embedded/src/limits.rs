//! Bounds of the link, as `docs/SERIAL.md` section 10 has them.

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 5;
/// Bytes that HELLO says of a lane.
pub(crate) const LANE_BYTES: usize = 6;
/// Bytes of the CRC behind a frame.
pub(crate) const CRC_BYTES: usize = 4;
/// Bytes of the largest LINK frame: every receiver has room for one.
pub const LINK_BYTES_MAX: usize = 128;
/// Lanes of a link.
pub const LANES_MAX: usize = 8;
/// Frames under way on a lane.
pub const WINDOW_MAX: usize = 16;
/// Payload bytes of a frame that everybody takes.
pub const MTU_MIN: u16 = 32;
/// Payload bytes of a frame at most.
pub const MTU_MAX: u16 = 1_024;
/// Bytes of a device's name.
pub const NAME_BYTES_MAX: usize = 24;
/// Bytes of a frame that carry no payload, on the line, at most: header, time, CRC, COBS and its ends.
pub(crate) const OVERHEAD_BYTES: u16 = 17;

pub(crate) const HELLO_US: u32 = 250_000;
pub(crate) const REFUSED_US: u32 = 5_000_000;
pub(crate) const DEAD_MS_DEFAULT: u16 = 1_500;
pub(crate) const DEAD_MS_MIN: u16 = 100;
pub(crate) const BAD_FRAMES_MAX: u8 = 10;
pub(crate) const IDLE_US: u32 = 10_000;
pub(crate) const STALE_US: u32 = 1_000_000;
/// What a device that does not measure waits for an ACK, and three frame times.
pub(crate) const RTO_US: u32 = 100_000;
pub(crate) const RTO_US_MAX: u32 = 1_000_000;
pub(crate) const LEAD_US: u32 = 2_000;
/// [`crate::Device::poll`] is called again after so many microseconds at most.
pub(crate) const POLL_US_MAX: u32 = 100_000;

pub(crate) const TOPIC_DEVICE_FIRST: u16 = 0x4000;
pub(crate) const TOPIC_HOST_FIRST: u16 = 0x8000;

/// Payload bytes of a frame of 10 ms at this rate; without one (`baud` 0) nothing but memory bounds it.
pub(crate) const fn mtu_of_baud(baud: u32) -> u16 {
    if baud == 0 {
        return MTU_MAX;
    }
    let bytes = (baud / 1_000).saturating_sub(OVERHEAD_BYTES as u32) & !7;
    if bytes < MTU_MIN as u32 {
        MTU_MIN
    } else if bytes > MTU_MAX as u32 {
        MTU_MAX
    } else {
        bytes as u16
    }
}
