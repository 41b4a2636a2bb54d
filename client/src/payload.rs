//! What a publisher hands over: borrowed, owned or shared bytes.

use std::fmt;

use bytes::Bytes;

/// A message's bytes on their way in. Made by `From`, so that callers pass what they have.
///
/// Small payloads are copied once, into the frame. Large ones (16 KiB and more) are written from where they are if they
/// came as [`Bytes`], `Vec<u8>` or `String`, and copied once if they were borrowed.
///
/// ```
/// use laneway_client::Payload;
/// assert_eq!(Payload::from("21.5").as_slice(), b"21.5");
/// assert_eq!(Payload::from(vec![1, 2, 3]).len(), 3);
/// ```
pub struct Payload<'a>(Repr<'a>);

enum Repr<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
}

impl Payload<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Borrowed(bytes) => bytes,
            Repr::Owned(bytes) => bytes,
            Repr::Shared(bytes) => bytes,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none; an empty message is a message.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The bytes with shared ownership; copies only what was borrowed.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Repr::Owned(bytes) => Bytes::from(bytes),
            Repr::Shared(bytes) => bytes,
        }
    }

    /// What was owned or shared, leaving nothing behind; `None` (and nothing changed) if it was borrowed.
    pub(crate) fn take_owned(&mut self) -> Option<Bytes> {
        if matches!(self.0, Repr::Borrowed(_)) {
            return None;
        }
        Some(std::mem::replace(self, Self(Repr::Borrowed(&[]))).into_bytes())
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Repr::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Repr::Borrowed(bytes))
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self(Repr::Borrowed(bytes))
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    fn from(text: &'a str) -> Self {
        Self(Repr::Borrowed(text.as_bytes()))
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    fn from(text: &'a String) -> Self {
        Self(Repr::Borrowed(text.as_bytes()))
    }
}

impl From<Vec<u8>> for Payload<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Owned(bytes))
    }
}

impl From<String> for Payload<'_> {
    fn from(text: String) -> Self {
        Self(Repr::Owned(text.into_bytes()))
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl From<&Bytes> for Payload<'_> {
    fn from(bytes: &Bytes) -> Self {
        Self(Repr::Shared(bytes.clone()))
    }
}
