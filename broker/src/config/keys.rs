//! Every key of the configuration file: its kind, its bounds, and the place it sets.

use laneway_proto::limits;

use super::{ListenUrl, Rule, Settings, node_id_text, parse_node_id};

/// Bytes of the smallest credit: room for a frame of the largest size behind what is read together with it.
const LANE_CREDIT_BYTES_MIN: u32 = 256 * 1024;

/// Reads and writes a number of the settings.
pub type NumberPlace = fn(&mut Settings) -> &mut u32;

/// What a key's value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number within bounds.
    Number {
        /// Smallest.
        min: u32,
        /// Largest.
        max: u32,
        /// Where it goes.
        place: NumberPlace,
    },
    /// The same for a place of 16 bits.
    Short {
        /// Smallest.
        min: u16,
        /// Largest.
        max: u16,
        /// Where it goes.
        place: fn(&mut Settings) -> &mut u16,
    },
    /// true or false.
    Flag(fn(&mut Settings) -> &mut bool),
    /// A text; the function checks and stores it, and says what is wrong.
    Text(fn(&mut Settings, &str) -> Result<(), String>, fn(&Settings) -> String),
    /// A list of texts; the function is called once with an empty list marker, then with each element.
    Texts(fn(&mut Settings, Option<&str>) -> Result<(), String>, fn(&Settings) -> Vec<String>),
}

/// A key, with its tables.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in `limits.connections_max`.
    pub name: &'static str,
    /// Its value.
    pub kind: Kind,
}

const fn number(name: &'static str, min: u32, max: u32, place: NumberPlace) -> Key {
    Key { name, kind: Kind::Number { min, max, place } }
}

const MIB: u32 = 1024 * 1024;
const HOUR_MS: u32 = 3_600_000;
/// Log levels, from quiet to loud.
pub const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// All keys.
pub const KEYS: &[Key] = &[
    Key { name: "listen", kind: Kind::Texts(add_listen, |s| s.listen.iter().map(ToString::to_string).collect()) },
    number("shards", 0, crate::config::SHARDS_MAX, |s| &mut s.shards),
    Key { name: "pin", kind: Kind::Flag(|s| &mut s.pin) },
    number("pin_first", 0, 1_023, |s| &mut s.pin_first),
    Key { name: "network_id", kind: Kind::Text(set_network_id, |s| s.network_id.clone()) },
    Key {
        name: "node_id",
        kind: Kind::Text(set_node_id, |s| s.node_id.as_ref().map(node_id_text).unwrap_or_default()),
    },
    Key {
        name: "state_dir",
        kind: Kind::Text(set_state_dir, |s| {
            s.state_dir.as_ref().map(|dir| dir.display().to_string()).unwrap_or_default()
        }),
    },
    Key { name: "log", kind: Kind::Text(set_log, |s| s.log.clone()) },
    number("limits.connections_max", 1, 1_000_000, |s| &mut s.limits.connections_max),
    number("limits.message_bytes_max", 1, limits::MESSAGE_BYTES_MAX_CEILING, |s| &mut s.limits.message_bytes_max),
    number("limits.topics_max", 1, 16 * MIB, |s| &mut s.limits.topics_max),
    number("limits.session_topics_max", 1, limits::TOPICS_PER_SESSION_MAX, |s| &mut s.limits.session_topics_max),
    number("limits.session_subscriptions_max", 1, limits::SUBSCRIPTIONS_PER_SESSION_MAX, |s| {
        &mut s.limits.session_subscriptions_max
    }),
    number("limits.retained_topics_max", 0, 16 * MIB, |s| &mut s.limits.retained_topics_max),
    number("limits.retained_bytes_max", 0, 1024 * MIB, |s| &mut s.limits.retained_bytes_max),
    number("limits.outbox_bytes_max", 64 * 1024, 1024 * MIB, |s| &mut s.limits.outbox_bytes_max),
    number("limits.lane_credit_bytes", LANE_CREDIT_BYTES_MIN, 1024 * MIB, |s| &mut s.limits.lane_credit_bytes),
    number("limits.egress_bytes_per_s", 0, u32::MAX, |s| &mut s.limits.egress_bytes_per_s),
    number("limits.ingress_bytes_per_s", 0, u32::MAX, |s| &mut s.limits.ingress_bytes_per_s),
    number("limits.rate_burst_bytes", 1_024, 1024 * MIB, |s| &mut s.limits.rate_burst_bytes),
    number("limits.block_ms_max", 1, HOUR_MS, |s| &mut s.limits.block_ms_max),
    number("limits.handshake_ms_max", 10, HOUR_MS, |s| &mut s.limits.handshake_ms_max),
    number("limits.partial_frame_ms_max", 10, HOUR_MS, |s| &mut s.limits.partial_frame_ms_max),
    number("limits.linger_ms_max", 0, 60_000, |s| &mut s.limits.linger_ms_max),
    number("limits.drain_ms_max", 0, HOUR_MS, |s| &mut s.limits.drain_ms_max),
    number("limits.confirms_pending_max", 2, MIB, |s| &mut s.limits.confirms_pending_max),
    number("limits.resume_grace_ms", 0, HOUR_MS, |s| &mut s.limits.resume_grace_ms),
    number("limits.resume_bytes_max", 64 * 1024, 1024 * MIB, |s| &mut s.limits.resume_bytes_max),
    number("limits.resume_sessions_max", 0, MIB, |s| &mut s.limits.resume_sessions_max),
    number("limits.peers_gone_max", 0, MIB, |s| &mut s.limits.peers_gone_max),
    number("pools.ingress_buffer_bytes", 1_024, 64 * 1024, |s| &mut s.pools.shape.ingress_buffer_bytes),
    Key {
        name: "pools.ingress_buffers",
        kind: Kind::Short { min: 4, max: 32_768, place: |s| &mut s.pools.shape.ingress_buffers },
    },
    Key {
        name: "pools.ingress_buffers_max",
        kind: Kind::Short { min: 4, max: 32_768, place: |s| &mut s.pools.shape.ingress_buffers_max },
    },
    number("pools.egress_buffer_bytes", 1_024, MIB, |s| &mut s.pools.shape.egress_buffer_bytes),
    number("pools.egress_buffers_kept", 0, 65_536, |s| &mut s.pools.shape.egress_buffers_kept),
    number("pools.copy_below_bytes", 0, 64 * 1024, |s| &mut s.pools.copy_below_bytes),
    number("pools.mesh_chunks_max", 2, 4_096, |s| &mut s.pools.mesh_chunks_max),
    Key { name: "tcp.nodelay", kind: Kind::Flag(|s| &mut s.tcp.nodelay) },
    Key { name: "tcp.loopback_paced", kind: Kind::Flag(|s| &mut s.tcp.loopback_paced) },
    number("tcp.keepalive_s", 0, 32_767, |s| &mut s.tcp.keepalive_s),
    number("tcp.notsent_lowat_bytes", 0, 64 * MIB, |s| &mut s.tcp.notsent_lowat_bytes),
    number("tcp.send_buffer_bytes", 0, 64 * MIB, |s| &mut s.tcp.send_buffer_bytes),
    number("tcp.receive_buffer_bytes", 0, 64 * MIB, |s| &mut s.tcp.receive_buffer_bytes),
    number("tcp.backlog", 1, 65_535, |s| &mut s.tcp.backlog),
    Key { name: "unix.mode", kind: Kind::Text(set_mode, |s| format!("{:03o}", s.unix.mode)) },
    number("unix.send_buffer_bytes", 0, 64 * MIB, |s| &mut s.unix.send_buffer_bytes),
    Key { name: "peers.presence", kind: Kind::Flag(|s| &mut s.peers.presence) },
    Key { name: "peers.known_only", kind: Kind::Flag(|s| &mut s.peers.known_only) },
    Key { name: "peers.allow", kind: Kind::Texts(add_rule, |s| s.peers.allow.iter().map(Rule::text).collect()) },
];

fn add_listen(settings: &mut Settings, url: Option<&str>) -> Result<(), String> {
    match url {
        None => settings.listen.clear(),
        Some(url) => settings.listen.push(ListenUrl::parse(url)?),
    }
    Ok(())
}

fn add_rule(settings: &mut Settings, rule: Option<&str>) -> Result<(), String> {
    match rule {
        None => settings.peers.allow.clear(),
        Some(rule) => settings.peers.allow.push(Rule::parse(rule)?),
    }
    Ok(())
}

fn set_network_id(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.len() > limits::NETWORK_ID_BYTES_MAX {
        return Err(format!("a network id has at most {} bytes; shorten it", limits::NETWORK_ID_BYTES_MAX));
    }
    settings.network_id = text.into();
    Ok(())
}

fn set_node_id(settings: &mut Settings, text: &str) -> Result<(), String> {
    if text.is_empty() {
        settings.node_id = None;
        return Ok(());
    }
    let id = parse_node_id(text).ok_or("a node id has 32 hexadecimal digits; leave it empty to have one made")?;
    settings.node_id = Some(id);
    Ok(())
}

fn set_state_dir(settings: &mut Settings, text: &str) -> Result<(), String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("a state directory needs an absolute path; leave it empty for the default".into());
    }
    settings.state_dir = (!text.is_empty()).then(|| text.into());
    Ok(())
}

fn set_log(settings: &mut Settings, text: &str) -> Result<(), String> {
    if !LOG_LEVELS.contains(&text) {
        return Err(format!("'{text}' is not a log level; use one of {}", LOG_LEVELS.join(", ")));
    }
    settings.log = text.into();
    Ok(())
}

fn set_mode(settings: &mut Settings, text: &str) -> Result<(), String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    settings.unix.mode =
        mode.ok_or_else(|| format!("'{text}' is no permission; use three octal digits, as in \"660\""))?;
    Ok(())
}
