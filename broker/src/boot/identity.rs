//! Who this broker is: a node id that survives restarts, an epoch that does not.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use laneway_proto::limits::NODE_ID_BYTES;

use super::BootError;
use crate::config::Settings;
use crate::config::peers::{node_id_text, parse_node_id};
use crate::descriptors;
use crate::shard::Identity;

const FILE_NAME: &str = "node_id";

/// The identity from the settings, else from the state directory, else a new one that is kept there.
pub fn load(settings: &Settings) -> Result<Identity, BootError> {
    let epoch = u64::from_ne_bytes(random()?);
    let secret = u64::from_ne_bytes(random()?);
    if let Some(node_id) = settings.node_id {
        return Ok(Identity { node_id, epoch, secret });
    }
    let Some(dir) = settings.state_dir.clone().or_else(default_dir) else {
        return Ok(Identity { node_id: random()?, epoch, secret });
    };
    let file = dir.join(FILE_NAME);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let node_id = parse_node_id(text.trim()).ok_or_else(|| {
                let file = file.display();
                BootError::new(format!("{file} does not hold a node id of 32 hexadecimal digits; delete it"))
            })?;
            return Ok(Identity { node_id, epoch, secret });
        }
        // It may be there: the broker does not become somebody else because it could not look.
        Err(error) if descriptors::remedy(&error).is_some() => {
            return Err(BootError::with_remedy(&format!("cannot read {}", file.display()), &error, ""));
        }
        Err(_) => {}
    }
    let node_id = random()?;
    if let Err(error) = keep(&dir, &file, &node_id) {
        tracing::warn!(
            file = %file.display(),
            %error,
            "the node id could not be kept and will change at the next start; set node_id or state_dir"
        );
    }
    Ok(Identity { node_id, epoch, secret })
}

fn keep(dir: &Path, file: &Path, node_id: &[u8; NODE_ID_BYTES]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(file, format!("{}\n", node_id_text(node_id)))
}

fn default_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("laneway"))
}

fn random<const N: usize>() -> Result<[u8; N], BootError> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| BootError::with_remedy("cannot read /dev/urandom", &error, "mount /dev"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_id_survives_a_restart_and_the_epoch_does_not() {
        let dir = std::env::temp_dir().join(format!("laneway-identity-{}", std::process::id()));
        let settings = Settings { state_dir: Some(dir.clone()), ..Settings::default() };
        let first = load(&settings).expect("made");
        let second = load(&settings).expect("read");
        assert_eq!(first.node_id, second.node_id);
        assert_ne!(first.epoch, second.epoch);
        std::fs::write(dir.join(FILE_NAME), "nonsense").expect("writable");
        assert!(load(&settings).expect_err("refused").to_string().contains("delete it"));
        std::fs::remove_dir_all(dir).expect("cleaned");
    }
}
