//! `configs/lanewayd.toml` documents every key with its default: compared with the code in both directions.

use laneway_broker::config::keys::{KEYS, Kind};
use laneway_broker::config::{Settings, read};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/lanewayd.toml");

fn file() -> String {
    std::fs::read_to_string(FILE).expect("the documented configuration exists")
}

/// `table.key` of every line that sets a key, commented-out examples of a key included.
fn keys_in(text: &str) -> Vec<String> {
    let mut table = String::new();
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.");
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some((key, _)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.push(format!("{table}{key}"));
        }
    }
    keys
}

#[test]
fn every_key_of_the_code_is_documented_and_nothing_else() {
    let mut documented = keys_in(&file());
    let mut known: Vec<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn the_documented_values_are_the_defaults() {
    let settings = read::read(&file()).expect("the documented configuration is valid");
    assert_eq!(settings, Settings::default());
}

#[test]
fn every_key_is_preceded_by_a_comment() {
    let mut explained = false;
    for line in file().lines() {
        if line.starts_with("# ") {
            explained = true;
        } else if line.is_empty() || line.starts_with('[') {
            explained = false;
        } else if line.contains(" = ") {
            assert!(explained, "no comment above: {line}");
        }
    }
}

#[test]
fn every_key_changes_the_settings() {
    for key in KEYS {
        let (name, value) = match key.kind {
            Kind::Number { min, max, .. } => (key.name, changed(u64::from(min), u64::from(max), key.name)),
            Kind::Short { min, max, .. } => (key.name, changed(u64::from(min), u64::from(max), key.name)),
            Kind::Flag(place) => (key.name, (!*place(&mut Settings::default())).to_string()),
            Kind::Text(..) => (key.name, text_for(key.name).to_owned()),
            Kind::Texts(..) => (key.name, text_for(key.name).to_owned()),
        };
        let extra = match name {
            "peers.known_only" => "\nallow = [\"uid:0\"]",
            "limits.topics_max" => "\nsession_topics_max = 1",
            _ => "",
        };
        let text = match name.split_once('.') {
            Some((table, key)) => format!("[{table}]\n{key} = {value}{extra}\n"),
            None => format!("{name} = {value}\n"),
        };
        let settings = read::read(&text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"));
        assert_ne!(settings, Settings::default(), "{text}");
    }
}

fn changed(min: u64, max: u64, name: &str) -> String {
    // The smallest value that is not the default; two keys have a neighbour above or below them.
    let value = match name {
        "pools.ingress_buffers_max" => max,
        "limits.session_topics_max" | "pools.ingress_buffers" => min,
        _ => min + 1,
    };
    value.to_string()
}

fn text_for(name: &str) -> &'static str {
    match name {
        "listen" => "[\"tcp://127.0.0.1:1\"]",
        "peers.allow" => "[\"uid:1\"]",
        "node_id" => "\"000102030405060708090a0b0c0d0e0f\"",
        "state_dir" => "\"/tmp\"",
        "log" => "\"debug\"",
        "unix.mode" => "\"660\"",
        _ => "\"lab\"",
    }
}
