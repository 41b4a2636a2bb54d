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

/// The bytes of a vector's text: hexadecimal, behind a semicolon a comment.
///
/// # Panics
/// If a byte is none.
pub fn bytes(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    digits.map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{byte:?} in {text}"))).collect()
}

/// The titles and texts of the document's vectors, in their order.
///
/// # Panics
/// If a block is not closed.
pub fn blocks(document: &str) -> impl Iterator<Item = (&str, &str)> {
    document.split("\n```hex ").skip(1).map(|block| {
        let (title, rest) = block.split_once('\n').expect("a name and a line");
        let (text, _) = rest.split_once("```").expect("a closed block");
        (title, text)
    })
}

/// Compares the table of constants with their values, and with what `source` declares.
///
/// # Panics
/// If they differ.
pub fn check_limits(document: &str, source: &str, actual: &BTreeMap<&str, u64>) {
    let rows = table(document, &["constant", "value"]);
    let documented = BTreeMap::from_iter(rows.iter().map(|row| (row[0].as_str(), number(&row[1]))));
    assert_eq!(documented.len(), rows.len(), "a constant stands twice in the table");
    assert_eq!(documented, *actual);
    let declared = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<_> = declared.filter(|name| !actual.contains_key(name)).collect();
    assert!(missing.is_empty(), "in limits.rs, but neither in this test nor in the document: {missing:?}");
}

/// The document's vectors by name.
///
/// # Panics
/// If a name stands there twice, or a byte is none.
pub fn vectors(document: &str) -> BTreeMap<String, Vec<u8>> {
    let mut vectors = BTreeMap::new();
    for (name, text) in blocks(document) {
        assert!(vectors.insert(name.to_owned(), bytes(text)).is_none(), "two vectors are called {name}");
    }
    vectors
}
