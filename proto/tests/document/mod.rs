//! Reads what the protocol's documents say in tables and vectors, for the tests that compare it with the code.

use std::collections::BTreeMap;

/// The rows of the table whose header begins with these cells, without the header.
///
/// # Panics
/// If there is no such table.
pub fn table(document: &str, first_columns: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let is_header = |line: &str| line.starts_with('|') && cells(line).iter().zip(first_columns).all(|(a, b)| a == b);
    let mut lines = document.lines().skip_while(|line| !is_header(line));
    assert!(lines.next().is_some(), "no table that begins with {first_columns:?}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// The number in a cell, decimal with commas or hexadecimal.
///
/// # Panics
/// If it is neither.
pub fn number(cell: &str) -> u64 {
    let digits = cell.replace(',', "");
    let parsed = digits.strip_prefix("0x").map_or_else(|| digits.parse(), |hex| u64::from_str_radix(hex, 16));
    parsed.unwrap_or_else(|_| panic!("{cell:?} is not a number"))
}

/// The document's vectors by name.
///
/// # Panics
/// If a name stands there twice, or a byte is none.
pub fn vectors(document: &str) -> BTreeMap<String, Vec<u8>> {
    let mut vectors = BTreeMap::new();
    for block in document.split("\n```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("a name and a line");
        let (text, _) = rest.split_once("```").expect("a closed block");
        let digits = text.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
        let bytes = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{name}: {byte:?}")));
        assert!(vectors.insert(name.to_owned(), bytes.collect()).is_none(), "two vectors are called {name}");
    }
    vectors
}
