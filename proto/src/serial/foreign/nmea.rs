//! NMEA 0183 sentences: `$GPGGA,…*47` on a line of its own.

use super::{Found, Gathered, Unfit, next, put};

/// Bytes of a sentence at most. The standard says 82; devices do not keep to it.
pub const SENTENCE_BYTES_MAX: usize = 512;
/// `*` and two digits.
const CHECKSUM_BYTES: usize = 3;

/// Finds sentences. Those without a checksum are bad: read them as lines.
#[derive(Clone, Debug)]
pub struct Sentences {
    gathered: Gathered<SENTENCE_BYTES_MAX>,
}

/// Who says a sentence, and what it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address<'a> {
    /// Two letters; `P` for what a manufacturer defined.
    pub talker: &'a str,
    /// The rest of the address, as `GGA`.
    pub kind: &'a str,
}

impl Sentences {
    pub(super) const fn new() -> Self {
        Self { gathered: Gathered::new() }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        while let Some(byte) = next(bytes) {
            let ends = matches!(byte, b'\r' | b'\n');
            // The beginning of another one, where the end of this one was lost.
            let cut = byte == b'$' && self.gathered.len > 0;
            if !ends && !cut {
                self.gathered.put(byte);
                continue;
            }
            let (len, over) = self.gathered.take();
            if cut {
                self.gathered.put(byte);
                return Some(Found::Bad);
            }
            if len == 0 {
                continue;
            }
            let sentence = self.gathered.upto(len);
            let good = !over && checksum_is_right(sentence) == Some(true);
            return Some(if good { Found::Message(sentence) } else { Found::Bad });
        }
        None
    }
}

/// `None` if there is none, or if it is no sentence.
fn checksum_is_right(sentence: &[u8]) -> Option<bool> {
    let (body, checksum) = sentence.split_at_checked(sentence.len().checked_sub(CHECKSUM_BYTES)?)?;
    let (&first, inside) = body.split_first()?;
    let [b'*', high, low] = *checksum else { return None };
    if !matches!(first, b'$' | b'!') || inside.contains(&b'*') {
        return None;
    }
    let wanted = xor(inside);
    Some(digit(high) == Some(wanted >> 4) && digit(low) == Some(wanted & 15))
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The address of a sentence; `None` if it has none of letters and digits only.
pub fn address(sentence: &[u8]) -> Option<Address<'_>> {
    let inside = sentence.get(1..)?;
    let end = inside.iter().position(|&byte| matches!(byte, b',' | b'*')).unwrap_or(inside.len());
    let address = inside.get(..end)?;
    if !address.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let talker_bytes = if address.first() == Some(&b'P') { 1 } else { 2 };
    let (talker, kind) = core::str::from_utf8(address).ok()?.split_at_checked(talker_bytes)?;
    (!kind.is_empty()).then_some(Address { talker, kind })
}

/// One sentence, with or without its checksum and CR LF.
pub(super) fn encode(message: &[u8], out: &mut [u8]) -> Result<usize, Unfit> {
    let sentence = message.strip_suffix(b"\n").unwrap_or(message);
    let sentence = sentence.strip_suffix(b"\r").unwrap_or(sentence);
    let (first, inside) = sentence.split_first().ok_or(Unfit)?;
    let breaks = inside.iter().any(|byte| matches!(byte, b'\r' | b'\n' | b'$'));
    let room = SENTENCE_BYTES_MAX.checked_sub(sentence.len()).ok_or(Unfit)?;
    if !matches!(first, b'$' | b'!') || breaks {
        return Err(Unfit);
    }
    match checksum_is_right(sentence) {
        Some(true) => put(out, &[sentence, b"\r\n"]),
        Some(false) => Err(Unfit),
        None if inside.contains(&b'*') || room < CHECKSUM_BYTES => Err(Unfit),
        None => {
            let sum = xor(inside);
            let hex = |digit: u8| b"0123456789ABCDEF".get(usize::from(digit & 15)).copied().unwrap_or_default();
            put(out, &[sentence, &[b'*', hex(sum >> 4), hex(sum)], b"\r\n"])
        }
    }
}
