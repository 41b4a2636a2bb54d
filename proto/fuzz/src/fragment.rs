//! A message is cut as defined, and fragments are taken or refused as the list of all that came says.
//!
//! Input: `u32` bytes of a message to cut | `u32` bytes of a fragment | `u8` largest message to receive | fragments to
//! receive, 4 bytes each: `u8` index, `u8` count (below 2 = 2), `u8` bytes of the message, `u8` bytes of the fragment.

use laneway_proto::frame::extensions::Frag;

use crate::input::Input;
use crate::model::fragment::{self, Receiver};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (total_len, fragment_bytes) = (input.u32(), input.u32());
    fragment::compare_cut(total_len, fragment_bytes);
    let message_bytes_max = u32::from(input.u8());
    let mut receiver = Receiver::default();
    while !input.is_empty() {
        let [index, count, total_len, payload_bytes] = input.array();
        let count = u16::from(count.max(2));
        // The decoder of FRAG lets no index through that is not below the count.
        let frag = Frag { index: u16::from(index) % count, count, total_len: u32::from(total_len) };
        receiver.offer(frag, usize::from(payload_bytes), message_bytes_max);
    }
}
