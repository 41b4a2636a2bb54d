//! How large a frame may be: what fits into 10 ms, and less where frames get lost.

use super::limits::{SERIAL_MTU_MAX, SERIAL_MTU_MIN};

/// Bytes of a frame on the line besides its payload: header, FRAG, TS, CRC, and two of COBS.
pub const OVERHEAD_BYTES: usize = 17;
const SAMPLE_FRAMES: u16 = 200;
const STEP_BYTES: u16 = 16;

/// Payload bytes of a frame that occupies a line of this rate for about 10 ms; 0: without a rate.
pub const fn mtu_of_baud(baud: u32) -> u16 {
    if baud == 0 {
        return SERIAL_MTU_MAX as u16;
    }
    let payload = (baud as usize / 1_000).saturating_sub(OVERHEAD_BYTES) / 8 * 8;
    let least = if payload < SERIAL_MTU_MIN { SERIAL_MTU_MIN } else { payload };
    (if least > SERIAL_MTU_MAX { SERIAL_MTU_MAX } else { least }) as u16
}

/// Cuts frames smaller while more than a tenth of them are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Adapt {
    most: u16,
    now: u16,
    sent: u16,
    lost: u16,
}

impl Adapt {
    pub(super) const fn new(most: u16) -> Self {
        Self { most, now: most, sent: 0, lost: 0 }
    }

    /// Payload bytes of a fragment.
    pub(super) const fn bytes(&self) -> u16 {
        self.now
    }

    /// A frame of a reliable lane was sent.
    pub(super) fn on_sent(&mut self) {
        self.sent += 1;
        if self.sent == SAMPLE_FRAMES {
            if self.lost * 20 < SAMPLE_FRAMES {
                self.now = self.most.min(self.now + STEP_BYTES);
            }
            (self.sent, self.lost) = (0, 0);
        }
    }

    /// One of them was lost.
    pub(super) fn on_lost(&mut self) {
        self.lost += 1;
        if self.lost * 10 > SAMPLE_FRAMES {
            self.now = (self.now / 2).max(SERIAL_MTU_MIN as u16).min(self.most);
            (self.sent, self.lost) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_take_ten_milliseconds_at_every_rate() {
        let rates = [9_600, 57_600, 115_200, 460_800, 921_600, 3_000_000, 0];
        assert_eq!(rates.map(mtu_of_baud), [32, 40, 96, 440, 904, 1_024, 1_024]);
    }

    #[test]
    fn a_bad_line_gets_half_frames_and_a_good_one_gets_them_back_step_by_step() {
        let mut adapt = Adapt::new(96);
        (0..20).for_each(|_| adapt.on_lost());
        assert_eq!(adapt.bytes(), 96, "a tenth of 200");
        adapt.on_lost();
        assert_eq!(adapt.bytes(), 48);
        (0..21).for_each(|_| adapt.on_lost());
        assert_eq!(adapt.bytes(), 32);
        (0..21).for_each(|_| adapt.on_lost());
        assert_eq!(adapt.bytes(), 32, "no less");
        (0..10).for_each(|_| adapt.on_lost());
        (0..200).for_each(|_| adapt.on_sent());
        assert_eq!(adapt.bytes(), 32, "a twentieth lost");
        let after = [200, 200, 200, 200, 200].map(|frames| {
            (0..frames).for_each(|_| adapt.on_sent());
            adapt.bytes()
        });
        assert_eq!(after, [48, 64, 80, 96, 96]);
    }
}
