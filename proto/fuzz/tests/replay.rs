//! Replays every checked-in corpus through its target, and checks that nothing is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use laneway_proto_fuzz::TARGETS;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    paths
}

fn names(directory: &str) -> BTreeSet<String> {
    let stems = entries(&here(directory)).into_iter().filter_map(|path| path.file_stem().map(ToOwned::to_owned));
    stems.map(|stem| stem.to_string_lossy().into_owned()).collect()
}

#[test]
fn every_target_has_a_binary_a_corpus_and_a_line_in_the_manifest() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = fs::read_to_string(here("Cargo.toml")).expect("the manifest");
    for name in &targets {
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{name} is not in Cargo.toml");
    }
}

#[test]
fn every_input_of_every_corpus_passes() {
    for (name, check) in TARGETS {
        let inputs = entries(&here("corpus").join(name));
        assert!(inputs.len() >= 5, "the corpus of {name} has only {} inputs", inputs.len());
        for path in inputs {
            println!("{name}: {}", path.display());
            check(&fs::read(&path).expect("an input"));
        }
        check(&[]);
        println!("{name}: nothing at all");
    }
}
