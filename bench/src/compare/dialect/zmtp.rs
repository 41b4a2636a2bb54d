//! ZeroMQ: ZMTP 3.0, NULL mechanism. A message is one frame that starts with its topic.

use super::talk::Talk;
use super::topic_name;
use crate::error::{Error, Result};
use crate::wire::Envelope;

const GREETING_BYTES: usize = 64;
const LONG: u8 = 0x02;
const COMMAND: u8 = 0x04;

pub(super) fn message(topic: u32, payload_bytes: usize) -> Envelope {
    let name = topic_name(topic, '/');
    let mut head = frame_head(name.len() + payload_bytes);
    head.extend_from_slice(name.as_bytes());
    Envelope { head, tail: b"" }
}

fn frame_head(body_bytes: usize) -> Vec<u8> {
    match u8::try_from(body_bytes) {
        Ok(short) => vec![0, short],
        Err(_) => [&[LONG][..], &(body_bytes as u64).to_be_bytes()].concat(),
    }
}

/// Greets as a socket of this type.
pub(super) fn connect(talk: &mut Talk, socket_type: &str) -> Result<()> {
    talk.say(&greeting())?;
    let answer = talk.hear("the greeting", |inbox| (inbox.len() >= GREETING_BYTES).then_some(GREETING_BYTES))?;
    if answer.first() != Some(&0xFF) || answer.get(10).is_none_or(|&major| major < 3) {
        return Err(Error::Failed(format!("the peer greets with {answer:02x?}, which is not ZMTP 3")));
    }
    let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
    ready.extend_from_slice(&(socket_type.len() as u32).to_be_bytes());
    ready.extend_from_slice(socket_type.as_bytes());
    let mut frame = vec![COMMAND, ready.len() as u8];
    frame.extend_from_slice(&ready);
    talk.say(&frame)?;
    let answer = talk.hear("READY", |inbox| inbox.get(1).map(|&body_bytes| 2 + usize::from(body_bytes)))?;
    if answer.get(2..8) == Some(b"\x05READY") {
        return Ok(());
    }
    Err(Error::Failed(format!("instead of READY the peer sent {answer:02x?}")))
}

pub(super) fn subscribe(talk: &mut Talk, topic: u32) -> Result<()> {
    connect(talk, "SUB")?;
    let name = topic_name(topic, '/');
    let mut frame = frame_head(1 + name.len());
    frame.push(1);
    frame.extend_from_slice(name.as_bytes());
    talk.say(&frame)
}

fn greeting() -> [u8; GREETING_BYTES] {
    let mut bytes = [0; GREETING_BYTES];
    bytes[0] = 0xFF;
    bytes[9] = 0x7F;
    bytes[10] = 3;
    bytes[12..16].copy_from_slice(b"NULL");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_have_one_byte_of_length_and_long_ones_eight() {
        assert_eq!(message(2, 64).head, b"\x00\x48bench/02");
        assert_eq!(message(2, 1_024).head, b"\x02\x00\x00\x00\x00\x00\x00\x04\x08bench/02");
    }
}
