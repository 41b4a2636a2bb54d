//! What two peers have to agree on before frames flow.
//!
//! ```text
//! preface, both ways   8B 4C 42 1A | ver_max | ver_min | 00 00
//! client               HELLO    versions, identity, network, features, limits, metadata
//! broker               WELCOME  version, session id, limits      or REJECT code, reason
//! ```
//! The first byte is no ASCII and no TLS or MQTT lead byte; 0x1A ends a text file that was sent by mistake.

use crate::error::{CloseCode, DecodeError, PeerFault};
use crate::limits::WIRE_VERSION;

/// The first four bytes of the preface.
pub const MAGIC: [u8; 4] = [0x8B, 0x4C, 0x42, 0x1A];
/// The preface this version sends.
pub const PREFACE: [u8; 8] = [0x8B, 0x4C, 0x42, 0x1A, WIRE_VERSION, WIRE_VERSION, 0, 0];

/// Feature bits of HELLO; unknown bits are ignored.
pub mod feature {
    /// The peer unpacks BATCH frames.
    pub const BATCH: u64 = 1 << 0;
    /// The peer assembles FRAG frames.
    pub const FRAGMENTS: u64 = 1 << 1;
    /// The peer counts what it receives on reliable lanes, keeps what it sends on them until it is counted, and can resume
    /// its session.
    pub const RESUME: u64 = 1 << 2;
    /// The peer keeps to the credit it is given on each lane, and gives credit itself.
    pub const CREDIT: u64 = 1 << 3;
    /// The peer understands CONFIRM frames, and says by COUNT frames what it has received.
    pub const CONFIRM: u64 = 1 << 4;
}

/// Whether a link opened with Laneway's preface. Versions are settled by HELLO, so that a newer peer gets an answer.
pub fn check_preface(preface: &[u8; 8]) -> Result<(), PeerFault> {
    if preface.starts_with(&MAGIC) { Ok(()) } else { Err(DecodeError::NotLaneway.into()) }
}

/// Whether the bytes received so far can still become a preface; a stranger is refused at its first wrong byte.
pub fn may_become_preface(bytes: &[u8]) -> bool {
    bytes.iter().zip(MAGIC).all(|(&byte, magic)| byte == magic)
}

/// The highest version both sides speak.
pub fn agree_version(peer_min: u32, peer_max: u32) -> Result<u32, PeerFault> {
    let ours = u32::from(WIRE_VERSION);
    if peer_min <= ours && ours <= peer_max { Ok(ours) } else { Err(PeerFault::VersionUnsupported) }
}

/// What the broker checks of a HELLO, borrowed from wherever it was decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer<'a> {
    /// Lowest version the peer speaks.
    pub version_min: u32,
    /// Highest version the peer speaks.
    pub version_max: u32,
    /// The peer's network id; empty means "whichever".
    pub network_id: &'a str,
    /// Length of the node id in bytes.
    pub node_id_bytes: usize,
    /// Bytes of all metadata keys and values.
    pub metadata_bytes: usize,
}

/// Why a HELLO is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The code for REJECT.
    pub code: CloseCode,
    /// One sentence for people: what is wrong and what to do.
    pub reason: &'static str,
}

impl Offer<'_> {
    /// Checks everything that needs no knowledge of other sessions; returns the agreed version.
    pub fn check(&self, network_id: &str) -> Result<u32, Refusal> {
        let Ok(version) = agree_version(self.version_min, self.version_max) else {
            return Err(Refusal {
                code: CloseCode::Version,
                reason: "no protocol version in common; upgrade the older side",
            });
        };
        if !self.network_id.is_empty() && self.network_id != network_id {
            return Err(Refusal {
                code: CloseCode::Network,
                reason: "the broker serves another network; set the same network_id on both sides",
            });
        }
        if self.node_id_bytes != crate::limits::NODE_ID_BYTES {
            return Err(Refusal { code: CloseCode::Malformed, reason: "a node id has exactly 16 bytes" });
        }
        if self.metadata_bytes > crate::limits::METADATA_BYTES_MAX {
            return Err(Refusal { code: CloseCode::Limit, reason: "metadata is larger than 4096 bytes; send less" });
        }
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Offer<'static> =
        Offer { version_min: 1, version_max: 1, network_id: "", node_id_bytes: 16, metadata_bytes: 0 };

    #[test]
    fn the_preface_is_the_specified_bytes() {
        assert_eq!(PREFACE, [0x8b, 0x4c, 0x42, 0x1a, 1, 1, 0, 0]);
        assert!(check_preface(&[0x8b, 0x4c, 0x42, 0x1a, 15, 2, 0, 0]).is_ok(), "a newer peer gets an answer");
        assert!(check_preface(&[0x8b, 0x4c, 0x42, 0x1b, 1, 1, 0, 0]).is_err());
        assert!(may_become_preface(&[0x8b, 0x4c]) && !may_become_preface(b"\x8bG"));
    }

    #[test]
    fn a_hello_is_refused_with_the_code_of_its_fault() {
        let refused = |offer: Offer<'_>| offer.check("lab").map_err(|refusal| refusal.code);
        assert_eq!(refused(GOOD), Ok(1));
        assert_eq!(refused(Offer { network_id: "lab", ..GOOD }), Ok(1));
        assert_eq!(refused(Offer { version_min: 2, version_max: 15, ..GOOD }), Err(CloseCode::Version));
        assert_eq!(refused(Offer { version_min: 1, version_max: 15, ..GOOD }), Ok(1));
        assert_eq!(refused(Offer { network_id: "home", ..GOOD }), Err(CloseCode::Network));
        assert_eq!(refused(Offer { node_id_bytes: 15, ..GOOD }), Err(CloseCode::Malformed));
        assert_eq!(refused(Offer { metadata_bytes: 4_096, ..GOOD }), Ok(1));
        assert_eq!(refused(Offer { metadata_bytes: 4_097, ..GOOD }), Err(CloseCode::Limit));
    }
}
