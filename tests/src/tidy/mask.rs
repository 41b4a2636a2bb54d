//! Blanks out what is not code, so that a scan for words does not trip over prose.

/// The same text with comments, strings and character literals replaced by blanks; line breaks stay.
pub fn mask(text: &str) -> String {
    let mut masker = Masker { rest: text, out: String::with_capacity(text.len()) };
    while !masker.rest.is_empty() {
        masker.step();
    }
    masker.out
}

struct Masker<'a> {
    rest: &'a str,
    out: String,
}

impl Masker<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            self.blank(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment_len(self.rest));
        } else if let Some(len) = raw_string_len(self.rest, self.out.chars().next_back()) {
            self.blank(len);
        } else if self.rest.starts_with('"') {
            self.blank(quoted_len(self.rest, '"'));
        } else if let Some(len) = char_len(self.rest) {
            self.blank(len);
        } else {
            let len = self.rest.chars().next().map_or(0, char::len_utf8);
            self.out.push_str(&self.rest[..len]);
            self.rest = &self.rest[len..];
        }
    }

    fn blank(&mut self, len: usize) {
        self.out.extend(self.rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = &self.rest[len..];
    }
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`: the length, unless the letter ends a longer word.
fn raw_string_len(text: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = if text.starts_with("br") { 2 } else { usize::from(text.starts_with('r')) };
    let after = text.get(prefix..).filter(|_| prefix > 0)?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |at| at + close.len());
    Some(prefix + hashes + 1 + end)
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A character literal, but not a lifetime.
fn char_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    let closes = inner[first.len_utf8()..].starts_with('\'');
    (first == '\\' || closes).then(|| quoted_len(text, '\''))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn prose_is_blanked_and_code_stays_in_its_place() {
        let text = "let a = \"un\\\"safe\"; // unsafe\nlet b = 'x'; /* unsafe /* nested */ */ fn f<'a>() {}\n";
        let masked = mask(text);
        assert!(!masked.contains("safe"), "{masked}");
        assert_eq!((masked.len(), masked.lines().count()), (text.len(), 2));
        assert!(masked.contains("fn f<'a>() {}") && masked.contains("let b ="));
    }

    #[test]
    fn raw_strings_and_quotes_as_characters_do_not_confuse_it() {
        assert_eq!(
            mask("r#\"a \" unsafe\"# + '\"' + '\\'' + x"),
            format!("{}+{}+{}+ x", " ".repeat(16), " ".repeat(5), " ".repeat(6))
        );
        assert_eq!(mask("for\"\""), "for  ");
    }
}
