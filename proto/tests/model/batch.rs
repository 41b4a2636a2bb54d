//! BATCH bodies, by offsets.

use laneway_proto::error::DecodeError;
use laneway_proto::frame::batch::{Messages, message_count};

/// The messages of a BATCH body, or `None` if it is malformed anywhere.
pub fn messages(body: &[u8]) -> Option<Vec<&[u8]>> {
    let [c0, c1, 0, 0, items @ ..] = body else { return None };
    let count = usize::from(u16::from_le_bytes([*c0, *c1]));
    if !(1..=4_095).contains(&count) {
        return None;
    }
    let mut found = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let len = usize::from(u16::from_le_bytes([*items.get(at)?, *items.get(at + 1)?]));
        found.push(items.get(at + 2..at + 2 + len)?);
        at += 2 + len;
    }
    (at == items.len()).then_some(found)
}

/// Compares the crate with the model on one body.
///
/// # Panics
/// If they disagree.
pub fn compare(body: &[u8]) {
    let expected = messages(body);
    let got: Result<Vec<&[u8]>, DecodeError> = Messages::new(body).and_then(Iterator::collect);
    assert_eq!(got.clone().ok(), expected, "the messages of {body:?}");
    if let Some(expected) = expected {
        assert_eq!(message_count(body).map(usize::from), Ok(expected.len()), "the count that the broker reads");
    }
    let Ok(mut messages) = Messages::new(body) else { return };
    let promised = usize::from(messages.left());
    let results: Vec<_> = messages.by_ref().take(promised + 1).collect();
    assert!(results.len() <= promised, "never more results than messages were promised");
    assert!(messages.next().is_none(), "the end is final");
    let errors = results.iter().filter(|result| result.is_err()).count();
    assert_eq!(errors, usize::from(got.is_err()), "one error at most, and nothing behind it");
}
