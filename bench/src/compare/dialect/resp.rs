//! Redis: RESP2 arrays. The publisher asks for no replies, which would cost a write for each of its messages.

use super::talk::{Talk, behind};
use super::topic_name;
use crate::error::Result;
use crate::wire::Envelope;

pub(super) fn published(topic: u32, payload_bytes: usize) -> Envelope {
    let name = topic_name(topic, '/');
    let head = format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{name}\r\n${payload_bytes}\r\n", name.len());
    Envelope { head: head.into(), tail: b"\r\n" }
}

pub(super) fn delivered(topic: u32, payload_bytes: usize) -> Envelope {
    let name = topic_name(topic, '/');
    let head = format!("*3\r\n$7\r\nmessage\r\n${}\r\n{name}\r\n${payload_bytes}\r\n", name.len());
    Envelope { head: head.into(), tail: b"\r\n" }
}

pub(super) fn publisher(talk: &mut Talk) -> Result<()> {
    talk.say(b"PING\r\n")?;
    talk.hear("PONG", behind(b"+PONG\r\n"))?;
    talk.say(b"CLIENT REPLY OFF\r\n")
}

pub(super) fn subscribe(talk: &mut Talk, topic: u32) -> Result<()> {
    talk.say(format!("SUBSCRIBE {}\r\n", topic_name(topic, '/')).as_bytes())?;
    talk.hear("the subscription", behind(b"\r\n:1\r\n")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_three_strings() {
        assert_eq!(published(0, 64).head, b"*3\r\n$7\r\nPUBLISH\r\n$8\r\nbench/00\r\n$64\r\n");
        assert_eq!(delivered(0, 64).head, b"*3\r\n$7\r\nmessage\r\n$8\r\nbench/00\r\n$64\r\n");
    }
}
