//! Messages on standard output.

use std::io::{self, Write};

use laneway_client::{LossReport, Message};

use crate::args::Format;

/// Bytes gathered before they are written; less is written when no message waits.
const GATHER_BYTES: usize = 64 * 1024;

/// Formats messages into a buffer of its own and writes that in few, large pieces.
#[derive(Debug)]
pub(crate) struct Printer<W> {
    out: W,
    buffer: Vec<u8>,
    format: Format,
    newline: bool,
    messages: u64,
}

impl<W: Write> Printer<W> {
    /// `newline` is whether raw payloads are followed by one.
    pub(crate) const fn new(out: W, format: Format, newline: bool) -> Self {
        Self { out, buffer: Vec::new(), format, newline, messages: 0 }
    }

    /// Messages printed so far.
    pub(crate) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Prints one message.
    pub(crate) fn message(&mut self, message: &Message) -> io::Result<()> {
        self.messages += 1;
        let buffer = &mut self.buffer;
        match self.format {
            Format::Text => {
                escape_text(buffer, message.topic.as_bytes());
                buffer.push(b' ');
                escape_text(buffer, &message.payload);
                buffer.push(b'\n');
            }
            Format::Json => json(buffer, message)?,
            Format::Raw => {
                buffer.extend_from_slice(&message.payload);
                if self.newline {
                    buffer.push(b'\n');
                }
            }
            Format::Quiet => {}
        }
        if self.buffer.len() >= GATHER_BYTES { self.write() } else { Ok(()) }
    }

    /// Prints a report of lost messages: as JSON in its place, otherwise on standard error.
    pub(crate) fn lost(&mut self, report: &LossReport) -> io::Result<()> {
        if self.format == Format::Json {
            json_lost(&mut self.buffer, report)?;
            return if self.buffer.len() >= GATHER_BYTES { self.write() } else { Ok(()) };
        }
        let mut line = Vec::new();
        escape_text(&mut line, report.to_string().as_bytes());
        line.push(b'\n');
        // Nobody has to listen.
        let _ = io::stderr().write_all(&line);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is gathered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.write()?;
        self.out.flush()
    }

    /// Writes the rest, and the count if that is all there is to print.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.format == Format::Quiet {
            writeln!(self.buffer, "{}", self.messages)?;
        }
        self.flush()
    }
}

/// Text a terminal can take: control characters and bytes that are not UTF-8 are escaped.
pub(crate) fn escape_text(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() {
                out.extend(char.escape_default().map(|escaped| escaped as u8));
            } else {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

fn json(out: &mut Vec<u8>, message: &Message) -> io::Result<()> {
    out.extend_from_slice(b"{\"topic\":");
    serde_json::to_writer(&mut *out, &*message.topic)?;
    write!(out, ",\"lane\":{},\"seq\":{},\"ts_ns\":", message.lane.number(), message.seq)?;
    match message.ts_ns {
        Some(ts_ns) => write!(out, "{ts_ns}")?,
        None => out.extend_from_slice(b"null"),
    }
    match message.text() {
        Some(text) => {
            out.extend_from_slice(b",\"payload\":");
            serde_json::to_writer(&mut *out, text)?;
        }
        None => {
            out.extend_from_slice(b",\"payload_base64\":\"");
            base64(out, &message.payload);
            out.push(b'"');
        }
    }
    if message.retained {
        out.extend_from_slice(b",\"retained\":true");
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn json_lost(out: &mut Vec<u8>, report: &LossReport) -> io::Result<()> {
    write!(out, "{{\"lost\":{},\"topic\":", report.messages)?;
    serde_json::to_writer(&mut *out, &report.topic.as_deref())?;
    writeln!(out, ",\"lane\":{},\"reason\":\"{}\"}}", report.lane.number(), report.reason.name())
}

/// The standard alphabet with padding.
fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place)) & 0x3F;
            out.push(if place <= three.len() { ALPHABET[six as usize] } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escape_text(&mut out, bytes);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn text_keeps_what_is_readable_and_escapes_the_rest() {
        assert_eq!(escaped(b"21.5 C:\\x"), "21.5 C:\\x");
        assert_eq!(escaped("grün 日本".as_bytes()), "grün 日本");
        assert_eq!(escaped(b"a\nb\tc\x1b[31m\x7f\0"), "a\\nb\\tc\\u{1b}[31m\\u{7f}\\u{0}");
        assert_eq!(escaped(b"\xff\xc3ok\x9b"), "\\xff\\xc3ok\\x9b");
        assert_eq!(escaped("\u{9b}2J".as_bytes()), "\\u{9b}2J", "a control sequence of one character");
    }

    #[test]
    fn base64_pads_to_groups_of_four() {
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
