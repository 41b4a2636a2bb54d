//! Any bytes are a control message or malformed, and what decodes survives being written and read again.
//!
//! Input: the body of a CTRL frame.

use laneway_proto::control::{Body, Control};
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::CONTROL_BYTES_MAX;
use laneway_proto::session::handshake::Offer;

/// Checks one input.
pub fn check(data: &[u8]) {
    let Ok(control) = Control::decode_body(data) else { return };
    if let Some(Body::Hello(hello)) = &control.body {
        let offer = Offer {
            version_min: hello.version_min,
            version_max: hello.version_max,
            network_id: &hello.network_id,
            node_id_bytes: hello.node_id.len(),
            metadata_bytes: hello.metadata_bytes(),
        };
        let accepted = offer.check("lab").is_ok();
        assert!(!accepted || hello.node_id.len() == 16, "a HELLO without a node id was accepted");
    }
    // A hair of room: one unpacked number takes a byte less than the packed list that it is written as.
    if data.len() > CONTROL_BYTES_MAX - 16 {
        return;
    }
    let frame = control.to_frame();
    let (head, body) = frame.split_first_chunk().expect("a frame has a header");
    assert_eq!(Header::decode(head), Ok(Header::new(Kind::CTRL, body.len())));
    assert_eq!(Control::decode_body(body), Ok(control), "written and read again");
}
