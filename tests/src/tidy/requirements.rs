//! `docs/REQUIREMENTS.md`: every requirement this version answers has a row, and every row a test that exists.
//!
//! ```text
//! | R0-01 | what | `crate::path::test_name`, `tests/run` |
//! ```

use std::collections::BTreeSet;

use super::Source;

/// The rows this version answers, as ranges of numbers per group.
pub const ANSWERED: &[(&str, &str)] = &[
    ("R0", "1-3 5-8 10 11 13-16 20-26 28 31-35 38 39 43-51 54-59 61-64 68-71 73 75"),
    ("R1", "1 2 6 7 9-13 15 16 18-26 28-63 66 69-80 83-85 87 88"),
    ("R2", "26 27 30 36 40-42 45 49 50 59"),
    ("R3", "1 2 4 9-12 20 24 25 30 32 34-38 40 42 47 48 52 55"),
    ("X", "1-3 5 6"),
];

/// The ids of `ranges`, as `R0-01`.
pub fn ids(ranges: &[(&str, &str)]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for (group, numbers) in ranges {
        for range in numbers.split_whitespace() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("`{text}` is not a number"));
            ids.extend((number(first)..=number(last)).map(|number| format!("{group}-{number:02}")));
        }
    }
    ids
}

/// Rows that are missing, doubled, unknown, or name nothing that exists. `exists` answers for files.
pub fn check(
    document: &str,
    wanted: &BTreeSet<String>,
    sources: &[Source],
    exists: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let functions: BTreeSet<String> =
        sources.iter().flat_map(|source| super::lengths::functions(&source.code)).map(|(name, _, _)| name).collect();
    for (id, proof) in rows(document) {
        if !wanted.contains(id) {
            problems.push(format!("{id}: not a requirement of this version"));
        }
        if !seen.insert(id.to_owned()) {
            problems.push(format!("{id}: has two rows"));
        }
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            problems.push(format!("{id}: names no test"));
        }
        for name in named.into_iter().filter(|name| !proves(name, &functions, &exists)) {
            problems.push(format!("{id}: `{name}` does not exist"));
        }
    }
    problems.extend(wanted.difference(&seen).map(|id| format!("{id}: has no row")));
    problems
}

/// Id and last column of each row.
fn rows(document: &str) -> impl Iterator<Item = (&str, &str)> {
    document.lines().filter_map(|line| {
        let columns: Vec<&str> =
            line.trim().strip_prefix('|')?.trim_end_matches('|').split('|').map(str::trim).collect();
        let id = *columns.first()?;
        let known = id.contains('-') && id.starts_with(['R', 'X']) && id.chars().any(|c| c.is_ascii_digit());
        known.then_some((id, *columns.last()?))
    })
}

/// Whether a name in backticks is a function of the tree, or a command whose program is a file of the tree.
fn proves(name: &str, functions: &BTreeSet<String>, exists: impl Fn(&str) -> bool) -> bool {
    let program = name.split_whitespace().next().unwrap_or_default().trim_start_matches("./");
    match program.rsplit_once("::") {
        Some((_, function)) => functions.contains(function),
        None => functions.contains(program) || exists(program) || program.starts_with("laneway-bench"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_spelled_out() {
        let found = ids(&[("R0", "1-3 12")]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["R0-01", "R0-02", "R0-03", "R0-12"]);
    }

    #[test]
    fn every_mistake_in_the_table_is_found() {
        let sources = [Source::new("a.rs", "fn a_test() {}")];
        let wanted = ids(&[("R0", "1-2")]);
        let check = |document: &str| check(document, &wanted, &sources, |path| path == "tests/run");
        let good = "| R0-01 | x | `a::a_test` |\n| R0-02 | y | `./tests/run --long` and `a_test` |\n";
        assert_eq!(check(good), [""; 0]);
        assert_eq!(check("| R0-01 | x | `a::a_test` |\n"), ["R0-02: has no row"]);
        assert_eq!(check(&good.replace("R0-02", "R0-01")).len(), 2, "doubled and missing");
        assert_eq!(check(&good.replace("`a::a_test`", "later")), ["R0-01: names no test"]);
        assert_eq!(check(&good.replace("a::a_test", "a::gone")), ["R0-01: `a::gone` does not exist"]);
        assert_eq!(check(&format!("{good}| R9-01 | z | `a_test` |\n")), ["R9-01: not a requirement of this version"]);
    }
}
