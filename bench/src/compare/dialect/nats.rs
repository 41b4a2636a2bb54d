//! NATS: lines of text, payloads with their length in front.

use super::talk::{Talk, behind};
use super::topic_name;
use crate::error::Result;
use crate::wire::Envelope;

/// The server asks now and then whether somebody is there; a short run need not answer.
pub(super) const PING: &[u8] = b"PING\r\n";

pub(super) fn published(topic: u32, payload_bytes: usize) -> Envelope {
    Envelope { head: format!("PUB {} {payload_bytes}\r\n", topic_name(topic, '.')).into(), tail: b"\r\n" }
}

pub(super) fn delivered(topic: u32, payload_bytes: usize) -> Envelope {
    Envelope { head: format!("MSG {} 1 {payload_bytes}\r\n", topic_name(topic, '.')).into(), tail: b"\r\n" }
}

pub(super) fn connect(talk: &mut Talk) -> Result<()> {
    talk.say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1}\r\nPING\r\n")?;
    talk.hear("PONG", behind(b"PONG\r\n")).map(drop)
}

pub(super) fn subscribe(talk: &mut Talk, topic: u32) -> Result<()> {
    connect(talk)?;
    talk.say(format!("SUB {} 1\r\nPING\r\n", topic_name(topic, '.')).as_bytes())?;
    talk.hear("PONG", behind(b"PONG\r\n")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_length_in_digits() {
        assert_eq!(published(3, 64).head, b"PUB bench.03 64\r\n");
        assert_eq!(delivered(3, 1_024).head, b"MSG bench.03 1 1024\r\n");
    }
}
