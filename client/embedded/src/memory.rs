//! The memory of a device: the application's, of a size that it chooses.

use crate::lane::{Lane, Slot};
use crate::topics::Entry;

/// Memory of a device with the default sizes: messages of 96 bytes, which fill 10 ms of a line of 115,200 baud, two of them
/// on each lane, 16 topics and filters, and the standard lanes.
pub type Memory = SizedMemory<96, 2, 16, 5, 128>;

/// Memory of a device.
///
/// | size | meaning |
/// | --- | --- |
/// | `MESSAGE` | payload bytes of a message, 32 to 1,024 |
/// | `WINDOW` | messages that a lane holds until they are acknowledged, and frames under way towards the device, 1 to 16 |
/// | `TOPICS` | topics and filters, 1 to 255 |
/// | `LANES` | lanes, the control lane included, 1 to 8 |
/// | `FRAME` | bytes of each of the two frame buffers: at least 128, and `MESSAGE + 18 + MESSAGE / 254` |
#[derive(Clone, Debug)]
pub struct SizedMemory<
    const MESSAGE: usize,
    const WINDOW: usize,
    const TOPICS: usize,
    const LANES: usize,
    const FRAME: usize,
> {
    pub(crate) lanes: [Lane; LANES],
    pub(crate) slots: [[Slot; WINDOW]; LANES],
    pub(crate) data: [[[u8; MESSAGE]; WINDOW]; LANES],
    pub(crate) topics: [Entry; TOPICS],
    pub(crate) transmit: [u8; FRAME],
    pub(crate) receive: [u8; FRAME],
}

impl<const MESSAGE: usize, const WINDOW: usize, const TOPICS: usize, const LANES: usize, const FRAME: usize>
    SizedMemory<MESSAGE, WINDOW, TOPICS, LANES, FRAME>
{
    /// Fresh memory. Sizes out of their bounds do not compile.
    pub const fn new() -> Self {
        const {
            assert!(MESSAGE >= 32 && MESSAGE <= 1_024, "messages have 32 to 1,024 bytes");
            assert!(WINDOW >= 1 && WINDOW <= 16, "a window is 1 to 16 messages");
            assert!(TOPICS >= 1 && TOPICS <= 255, "1 to 255 topics");
            assert!(LANES >= 1 && LANES <= 8, "1 to 8 lanes, the control lane included");
            assert!(
                FRAME >= 128 && FRAME >= MESSAGE + 18 + MESSAGE / 254,
                "a frame buffer holds a message and 18 bytes"
            );
        }
        Self {
            lanes: [Lane::EMPTY; LANES],
            slots: [[Slot::new(0, 0, None); WINDOW]; LANES],
            data: [[[0; MESSAGE]; WINDOW]; LANES],
            topics: [Entry::FREE; TOPICS],
            transmit: [0; FRAME],
            receive: [0; FRAME],
        }
    }
}

impl<const MESSAGE: usize, const WINDOW: usize, const TOPICS: usize, const LANES: usize, const FRAME: usize> Default
    for SizedMemory<MESSAGE, WINDOW, TOPICS, LANES, FRAME>
{
    fn default() -> Self {
        Self::new()
    }
}
