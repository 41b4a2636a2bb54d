//! PING and PONG bodies have one length, and are written back as they were read.
//!
//! Input: a frame's body.

use laneway_proto::error::DecodeError;
use laneway_proto::frame::ping::{Ping, Pong};

/// Checks one input.
pub fn check(data: &[u8]) {
    let refused = |wanted: usize| match data.len() {
        len if len < wanted => Err(DecodeError::BodyTruncated),
        len if len > wanted => Err(DecodeError::BodyMalformed),
        _ => Ok(()),
    };
    let ping = Ping::decode(data);
    assert_eq!(ping.map(|_| ()), refused(8));
    if let Ok(ping) = ping {
        assert_eq!(ping.encode()[16..], *data);
    }
    let pong = Pong::decode(data);
    assert_eq!(pong.map(|_| ()), refused(24));
    if let Ok(pong) = pong {
        assert_eq!(pong.encode()[16..], *data);
    }
}
