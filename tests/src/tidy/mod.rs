//! The style, as functions over the tree: each returns the places that break it.

pub mod crates;
pub mod layers;
pub mod lengths;
pub mod mask;
pub mod requirements;
pub mod words;

use std::path::{Path, PathBuf};

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its text with comments, strings and characters blanked out, line for line.
    pub code: String,
}

impl Source {
    /// A file with this text.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { path: path.into(), code: mask::mask(&text), text }
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of the repository.
///
/// # Panics
/// If the tree cannot be read.
pub fn rust_files() -> Vec<Source> {
    let mut found = Vec::new();
    for top in ["proto", "broker", "client", "bench", "tests"] {
        collect(&root().join(top), top, &mut found);
    }
    assert!(found.len() > 20, "the repository has more than {} Rust files", found.len());
    found
}

fn collect(folder: &Path, name: &str, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(Result::ok)
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{name}/{file}");
        let kind = entry.file_type().expect("the kind of a file is known");
        if kind.is_dir() && !matches!(file.as_str(), "target" | "corpus" | "artifacts") {
            collect(&entry.path(), &path, found);
        } else if kind.is_file() && file.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).expect("a source file is text");
            found.push(Source::new(path, text));
        }
    }
}
