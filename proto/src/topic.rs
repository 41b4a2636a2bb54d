//! Topic names and filters: MQTT's grammar, and whether a filter matches a name.
//!
//! Levels are separated by `/`. In filters, `+` stands for one level and `#` (last level only) for the rest, the parent
//! included: `a/#` matches `a`. Wildcards never match a first level that starts with `$`. Names and filters are UTF-8, 1
//! to 255 bytes, without NUL.

use core::fmt;

use crate::limits::TOPIC_BYTES_MAX;

/// Why a name or filter was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// No bytes at all.
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// Contains a NUL character.
    Nul,
    /// A wildcard in a name.
    WildcardInName,
    /// `+` or `#` beside other characters in a level.
    WildcardNotAlone,
    /// `#` before the last level.
    TailNotLast,
    /// A client may not publish below `$`.
    Reserved,
}

impl TopicError {
    /// What is wrong and what to do, without a full stop.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "a topic needs at least one character",
            Self::TooLong => "a topic may have at most 255 bytes; shorten it",
            Self::Nul => "a topic may not contain a NUL character",
            Self::WildcardInName => "'+' and '#' may stand in filters only; publish to one exact topic",
            Self::WildcardNotAlone => "'+' and '#' must fill a whole level, as in 'a/+/b' or 'a/#'",
            Self::TailNotLast => "'#' may only be the last level",
            Self::Reserved => "topics that start with '$' belong to the broker; publish to another one",
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for TopicError {}

fn check_common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        Err(TopicError::Empty)
    } else if text.len() > TOPIC_BYTES_MAX {
        Err(TopicError::TooLong)
    } else if text.as_bytes().contains(&0) {
        Err(TopicError::Nul)
    } else {
        Ok(())
    }
}

/// Whether `name` may be published to by somebody. `$` topics pass; see [`check_publish`].
pub fn check_name(name: &str) -> Result<(), TopicError> {
    check_common(name)?;
    if name.bytes().any(|byte| matches!(byte, b'+' | b'#')) { Err(TopicError::WildcardInName) } else { Ok(()) }
}

/// Whether a client may publish to `name`.
pub fn check_publish(name: &str) -> Result<(), TopicError> {
    check_name(name)?;
    if name.starts_with('$') { Err(TopicError::Reserved) } else { Ok(()) }
}

/// Whether `filter` may be subscribed to.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    check_common(filter)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level == "#" && levels.peek().is_some() {
            return Err(TopicError::TailNotLast);
        }
        if level.len() > 1 && level.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
            return Err(TopicError::WildcardNotAlone);
        }
    }
    Ok(())
}

/// Whether a valid `filter` matches a valid `name`.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests;
