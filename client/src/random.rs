//! Unpredictable numbers for identities and jitter; not for secrets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::OnceLock;

/// A number nobody else is likely to have drawn: the operating system seeds the standard library's hash keys.
pub(crate) fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// The node id of a process that was given none: the same for all its connections.
pub(crate) fn process_node_id() -> [u8; 16] {
    static NODE_ID: OnceLock<[u8; 16]> = OnceLock::new();
    *NODE_ID.get_or_init(|| {
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            half.copy_from_slice(&random_u64().to_le_bytes());
        }
        id
    })
}

/// The epoch of this process: how a peer tells a restart from a second connection.
pub(crate) fn process_epoch() -> u64 {
    static EPOCH: OnceLock<u64> = OnceLock::new();
    *EPOCH.get_or_init(random_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_a_process_keeps_its_identity() {
        assert_ne!(random_u64(), random_u64());
        assert_eq!(process_node_id(), process_node_id());
        assert_eq!(process_epoch(), process_epoch());
    }
}
