//! Words that do not belong in the tree, or only in one place of it.

use super::Source;

/// Where `unsafe` may stand, and why.
pub const UNSAFE_ALLOWED: &[(&str, &str)] = &[
    ("broker/src/io/uring/", "the kernel is told addresses"),
    ("bench/src/relays/ring", "the bare relay talks to the kernel itself"),
    ("tests/firmware/rust/", "a board without an operating system has registers and symbols"),
    ("broker/tests/allocations.rs", "a counting allocator is an unsafe trait"),
];

/// What stands for unfinished or silenced work.
const BANNED: &[(&str, &str)] = &[
    (concat!("to", "do!"), "finish it"),
    (concat!("unimple", "mented!"), "finish it"),
    (concat!("db", "g!("), "remove it"),
    (concat!("#[ig", "nore"), "a test runs, or it is deleted"),
];

/// Comments that promise work.
const PROMISES: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Banned words.
pub fn banned(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        for (number, line) in source.code.lines().enumerate() {
            for (word, remedy) in BANNED.iter().filter(|(word, _)| line.contains(word)) {
                problems.push(format!("{}:{}: {word}; {remedy}", source.path, number + 1));
            }
        }
        for (number, line) in source.text.lines().enumerate() {
            for word in PROMISES.iter().filter(|word| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == **word)) {
                problems.push(format!("{}:{}: {word}; do it or delete it", source.path, number + 1));
            }
        }
    }
    problems
}

/// `allow` and `expect` attributes without a reason.
pub fn silent_allows(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        for marker in ["[allow(", "[expect("] {
            for (at, _) in source.code.match_indices(marker) {
                let attribute = source.code[at..].split_once(']').map_or("", |(inside, _)| inside);
                if !attribute.contains("reason") {
                    let line = 1 + source.code[..at].matches('\n').count();
                    problems.push(format!("{}:{line}: {marker}…) without a reason", source.path));
                }
            }
        }
    }
    problems
}

/// `unsafe` outside of the places that need it.
pub fn stray_unsafe(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    let outside = |source: &&Source| !UNSAFE_ALLOWED.iter().any(|(path, _)| source.path.starts_with(path));
    for source in sources.iter().filter(outside) {
        for (number, line) in source.code.lines().enumerate() {
            let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if words.into_iter().any(|word| word == "unsafe") {
                problems.push(format!("{}:{}: unsafe code stands only in io/uring", source.path, number + 1));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(text: &str) -> [Source; 1] {
        [Source::new("broker/src/x.rs", text)]
    }

    #[test]
    fn unfinished_and_silenced_work_is_found_in_code_but_not_in_strings() {
        for (word, _) in BANNED {
            assert_eq!(banned(&sample(&format!("fn f() {{ {word} }}"))).len(), 1, "{word}");
            assert_eq!(banned(&sample(&format!("const A: &str = \"{word}\";"))).len(), 0, "{word}");
        }
        for word in PROMISES {
            assert_eq!(banned(&sample(&format!("// {word} later"))).len(), 1, "{word}");
        }
    }

    #[test]
    fn an_allow_needs_a_reason() {
        assert_eq!(silent_allows(&sample("#[allow(dead_code)]\nfn f() {}")).len(), 1);
        assert_eq!(silent_allows(&sample("#[allow(dead_code, reason = \"why\")]\nfn f() {}")).len(), 0);
        assert_eq!(silent_allows(&sample("#![allow(\n dead_code,\n reason = \"why\"\n)]")).len(), 0);
    }

    #[test]
    fn unsafe_stands_only_where_it_may() {
        assert_eq!(stray_unsafe(&sample("fn f() { unsafe { g() } }")).len(), 1);
        assert_eq!(stray_unsafe(&sample("#![deny(unsafe_code)] // unsafe")).len(), 0);
        assert_eq!(stray_unsafe(&[Source::new("broker/src/io/uring/mod.rs", "unsafe {}")]).len(), 0);
    }
}
