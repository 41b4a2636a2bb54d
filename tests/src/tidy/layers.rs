//! Arrows point down: a module of the broker imports from lower layers only, and files of one folder meet only through
//! their parent.

use std::collections::BTreeSet;

use super::Source;

/// The layers of the broker, lowest first. A module imports from the layers before its own.
pub const LAYERS: &[&[&str]] = &[
    &["slab", "counters", "descriptors", "histogram", "intern", "rate", "tty"],
    &["pool", "retained", "timers"],
    &["config", "io", "router"],
    &["access", "confirms", "inbox", "mesh", "outbox", "transport"],
    &["conn", "line"],
    &["shard"],
    &["metrics", "admin"],
    &["boot"],
    &["main"],
];

const ROOT: &str = "broker/src/";

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top-level module a file of the broker belongs to; `None` for the crate's root.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(ROOT)?;
    let module = inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs");
    (module != "lib").then_some(module)
}

/// Names behind each `prefix` in the code, `prefix::{a, b}` included.
fn names_behind(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let first = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        match rest.strip_prefix('{') {
            Some(list) => names.extend(group(list).into_iter().map(first)),
            None => {
                names.insert(first(rest));
            }
        }
    }
    names
}

/// The members of a `{…}` list at its own level.
fn group(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

/// The code in front of a file's own test module.
fn production(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code)
}

/// Imports that go up or sideways, and files that are in no layer.
pub fn upward(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let Some(module) = module_of(&source.path) else { continue };
        let Some(layer) = layer_of(module) else {
            problems.push(format!("{}: `{module}` is in no layer; give it a place in the table", source.path));
            continue;
        };
        let code = production(&source.code);
        let imported = names_behind(code, "crate::").into_iter().chain(names_behind(code, "laneway_broker::"));
        for other in imported.filter(|other| other != module) {
            match layer_of(&other) {
                Some(below) if below < layer => {}
                Some(beside) => problems.push(format!(
                    "{}: layer {layer} imports `{other}` of layer {beside}; arrows point down",
                    source.path
                )),
                // An item at the crate's root.
                None => {}
            }
        }
    }
    problems
}

/// Files of one folder that name each other instead of meeting in their parent.
pub fn sideways(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(ROOT)) {
        let Some((folder, file)) = source.path.rsplit_once('/') else { continue };
        if matches!(file, "mod.rs" | "lib.rs" | "main.rs" | "tests.rs") || folder == "broker/src" {
            continue;
        }
        let siblings = sources.iter().filter_map(|other| {
            let (place, name) = other.path.rsplit_once('/')?;
            (place == folder && name != file && name != "mod.rs").then(|| name.trim_end_matches(".rs").to_owned())
        });
        let siblings: BTreeSet<String> = siblings.collect();
        let code = production(&source.code);
        let named = names_behind(code, "super::");
        // Calling a function of a sibling is meeting it, too; a type that the parent re-exports is not.
        for sibling in named.intersection(&siblings) {
            problems.push(format!("{}: names its neighbour `{sibling}`; let mod.rs introduce them", source.path));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        upward(&[Source::new(path, text)])
    }

    #[test]
    fn an_import_from_below_passes_and_one_from_above_or_beside_does_not() {
        assert_eq!(check("broker/src/conn.rs", "use crate::outbox::Outbox;\nuse crate::io::{self, Io};"), [""; 0]);
        assert_eq!(check("broker/src/router/mod.rs", "use crate::shard::Shard;").len(), 1);
        assert_eq!(check("broker/src/outbox.rs", "fn f() { crate::mesh::wire(1, 1); }").len(), 1);
        assert_eq!(check("broker/src/io/mod.rs", "use crate::{pool::Pool, conn::Conn, slab::{Key, Slab}};").len(), 1);
        assert_eq!(check("broker/src/io/uring/mod.rs", "use crate::io::token;"), [""; 0], "its own module");
    }

    #[test]
    fn a_file_without_a_layer_is_found() {
        assert_eq!(check("broker/src/helpers.rs", "").len(), 1);
        assert_eq!(check("broker/src/lib.rs", "pub mod io;").len(), 0);
        assert_eq!(check("client/src/helpers.rs", "").len(), 0);
    }

    #[test]
    fn neighbours_meet_only_in_their_parent() {
        let other = Source::new("broker/src/shard/deliver.rs", "");
        let check = |text: &str| sideways(&[Source::new("broker/src/shard/receive.rs", text), other.clone()]).len();
        assert_eq!(check("use super::deliver::Flow;"), 1);
        assert_eq!(check("use super::{Shard, deliver::Flow};"), 1);
        assert_eq!(check("use super::{Flow, Shard};"), 0);
    }
}
