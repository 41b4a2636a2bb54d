//! MQTT 3.1.1, QoS 0: a subscriber receives the very bytes that were published.

use std::sync::atomic::{AtomicU32, Ordering};

use super::talk::Talk;
use super::topic_name;
use crate::error::{Error, Result};
use crate::wire::Envelope;

/// Client ids must differ: a broker disconnects the older of two with the same.
static NEXT_CLIENT: AtomicU32 = AtomicU32::new(0);

pub(super) fn publish(topic: u32, payload_bytes: usize) -> Envelope {
    let name = topic_name(topic, '/');
    let mut head = vec![0x30];
    push_length(&mut head, 2 + name.len() + payload_bytes);
    push_text(&mut head, &name);
    Envelope { head, tail: b"" }
}

pub(super) fn connect(talk: &mut Talk) -> Result<()> {
    let client = format!("bench{}-{}", std::process::id(), NEXT_CLIENT.fetch_add(1, Ordering::Relaxed));
    let mut body = Vec::new();
    push_text(&mut body, "MQTT");
    // Version 4, clean session, and a minute of silence allowed: an hour-long one is refused by some.
    body.extend_from_slice(&[4, 2, 0, 60]);
    push_text(&mut body, &client);
    talk.say(&packet(0x10, &body))?;
    let answer = talk.hear("CONNACK", |inbox| (inbox.len() >= 4).then_some(4))?;
    accepted(&answer, &[0x20, 2, 0, 0])
}

pub(super) fn subscribe(talk: &mut Talk, topic: u32) -> Result<()> {
    connect(talk)?;
    let mut body = vec![0, 1];
    push_text(&mut body, &topic_name(topic, '/'));
    body.push(0);
    talk.say(&packet(0x82, &body))?;
    let answer = talk.hear("SUBACK", |inbox| (inbox.len() >= 5).then_some(5))?;
    accepted(&answer, &[0x90, 3, 0, 1, 0])
}

fn accepted(answer: &[u8], wanted: &[u8]) -> Result<()> {
    if answer == wanted {
        return Ok(());
    }
    Err(Error::Failed(format!("the peer answered {answer:02x?} instead of {wanted:02x?}")))
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    push_length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_publish_counts_topic_and_payload() {
        assert_eq!(publish(1, 16).head, b"\x30\x1a\x00\x08bench/01");
        assert_eq!(publish(1, 1_024).head, b"\x30\x8a\x08\x00\x08bench/01");
    }
}
