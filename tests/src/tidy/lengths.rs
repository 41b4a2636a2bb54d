//! No big files and no big functions.

use super::Source;

/// Lines of a file at most, tests and generated code included.
pub const FILE_LINES_MAX: usize = 800;
/// Lines of a function at most, from its name to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Files that are too long.
pub fn long_files(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines, at most {FILE_LINES_MAX}; split it", source.path))
    });
    long.collect()
}

/// Functions that are too long, except `known` ones of exactly that length: a known one may only shrink.
pub fn long_functions(sources: &[Source], known: &[(&str, &str, usize)]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut met = vec![false; known.len()];
    for source in sources {
        for (name, line, lines) in functions(&source.code) {
            let place = known.iter().position(|&(path, function, _)| path == source.path && function == name);
            match place {
                Some(index) if known[index].2 == lines => met[index] = true,
                Some(_) | None if lines > FUNCTION_LINES_MAX => problems.push(format!(
                    "{}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}; split it",
                    source.path
                )),
                Some(_) | None => {}
            }
        }
    }
    let gone = known.iter().zip(met).filter(|(_, met)| !met);
    problems.extend(gone.map(|((path, name, _), _)| format!("{path}: `{name}` changed; update or remove its entry")));
    problems
}

/// Name, first line and length in lines of every function with a body.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    for (at, _) in code.match_indices("fn ") {
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if word_before || name.is_empty() {
            continue;
        }
        if let Some(len) = body_end(rest) {
            let line = 1 + code[..at].matches('\n').count();
            found.push((name, line, 1 + rest[..len].matches('\n').count()));
        }
    }
    found
}

/// Bytes up to the end of the body that follows, if there is one before the next `;`.
fn body_end(rest: &str) -> Option<usize> {
    let (mut depth, mut nested) = (0_usize, 0_usize);
    for (at, c) in rest.char_indices() {
        match c {
            // `[u8; 4]` in a signature is no end of a declaration.
            '(' | '[' if depth == 0 => nested += 1,
            ')' | ']' if depth == 0 => nested = nested.saturating_sub(1),
            ';' if depth == 0 && nested == 0 => return None,
            '{' => depth += 1,
            '}' if depth <= 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_with_their_signature_and_body() {
        let code =
            "trait T { fn a(&self) -> [u8; 2]; }\npub fn b(\n    x: [u8; 4],\n) {\n    if x { y }\n}\nfn c() {}\n";
        assert_eq!(functions(code), [("b".to_owned(), 2, 5), ("c".to_owned(), 7, 1)]);
    }

    #[test]
    fn a_function_or_file_over_its_bound_is_found_unless_known_at_that_length() {
        let body = "    x();\n".repeat(FUNCTION_LINES_MAX);
        let source = Source::new("a.rs", format!("fn long() {{\n{body}}}\n"));
        let sources = [source];
        assert_eq!(long_functions(&sources, &[]).len(), 1);
        assert_eq!(long_functions(&sources, &[("a.rs", "long", FUNCTION_LINES_MAX + 2)]), Vec::<String>::new());
        assert_eq!(long_functions(&sources, &[("a.rs", "long", FUNCTION_LINES_MAX + 3)]).len(), 2, "grown or shrunk");
        assert!(long_files(&sources).is_empty());
        assert_eq!(long_files(&[Source::new("b.rs", "\n".repeat(FILE_LINES_MAX + 1))]).len(), 1);
    }
}
