//! What the bytes of a line mean: frames of Laneway's link, or messages of another protocol.

use laneway_proto::serial::cobs::{Decoded, Decoder, checked};
use laneway_proto::serial::crc::session_preset;
use laneway_proto::serial::foreign::{self, Found, Protocol, mavlink, nmea};
use laneway_proto::serial::frame::{Head, SerialKind};
use laneway_proto::serial::hello::LinkBody;
use laneway_proto::serial::limits::SERIAL_FRAME_BYTES_MAX;
use serde_json::{Map, Value, json};

/// Bytes of a message of another protocol.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes of a message that are shown.
const SHOWN_BYTES: usize = 48;

/// One frame, or bytes that are none.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Reading {
    /// Its bytes on the line, about.
    pub(super) bytes: usize,
    pub(super) bad: bool,
    /// For people.
    pub(super) text: String,
    /// The same for programs.
    pub(super) fields: Map<String, Value>,
}

/// Reads a line.
#[derive(Debug)]
pub(super) enum Readings {
    /// Laneway's link.
    Link(Box<LinkReadings>),
    /// Another protocol.
    Foreign(Box<foreign::Decoder<MESSAGE_BYTES_MAX>>, Protocol),
}

#[derive(Debug)]
pub(super) struct LinkReadings {
    decoder: Decoder,
    frame: [u8; SERIAL_FRAME_BYTES_MAX],
    /// Bytes since the last frame.
    since: usize,
    /// Under which a frame may be right: that of the session once it is known, before that both ways round.
    presets: Vec<u32>,
}

impl Readings {
    pub(super) fn new(protocol: Option<Protocol>) -> Self {
        match protocol {
            Some(protocol) => Self::Foreign(Box::new(foreign::Decoder::new(protocol)), protocol),
            None => Self::Link(Box::new(LinkReadings {
                decoder: Decoder::new(),
                frame: [0; SERIAL_FRAME_BYTES_MAX],
                since: 0,
                presets: Vec::new(),
            })),
        }
    }

    /// Bytes have come, or none did for a while.
    pub(super) fn read(&mut self, mut bytes: &[u8], out: &mut Vec<Reading>) {
        match self {
            Self::Link(link) => bytes.iter().for_each(|&byte| out.extend(link.push(byte))),
            Self::Foreign(decoder, protocol) => {
                if bytes.is_empty() {
                    while let Some(found) = decoder.on_silence() {
                        out.push(foreign(*protocol, found));
                    }
                }
                while let Some(found) = decoder.push(&mut bytes) {
                    out.push(foreign(*protocol, found));
                }
            }
        }
    }
}

impl LinkReadings {
    fn push(&mut self, byte: u8) -> Option<Reading> {
        self.since += 1;
        let Self { decoder, frame, since, .. } = self;
        match decoder.push(byte, frame) {
            Decoded::More => None,
            Decoded::Bad => Some(bad(std::mem::take(since), "no frame")),
            Decoded::Frame(len) => {
                let bytes = std::mem::take(since);
                let frame = self.frame.get(..len).unwrap_or_default().to_vec();
                Some(self.frame(bytes, &frame))
            }
        }
    }

    fn frame(&mut self, bytes: usize, frame: &[u8]) -> Reading {
        if let Some(body) = checked(frame, 0)
            && let Ok((Head { kind: SerialKind::Link, .. }, payload)) = Head::decode(body)
        {
            return self.link(bytes, payload);
        }
        let right = self.presets.iter().copied().find_map(|preset| Some((preset, checked(frame, preset)?)));
        let (body, is_checked) = match right {
            Some((preset, body)) => {
                self.presets = vec![preset];
                (body, true)
            }
            // Who begins to listen in the middle of a session cannot tell.
            None if self.presets.is_empty() => (frame.get(..frame.len().saturating_sub(4)).unwrap_or_default(), false),
            None => return bad(bytes, "wrong CRC"),
        };
        let Ok((head, payload)) = Head::decode(body) else { return bad(bytes, "no frame of this version") };
        let Head { kind, lane, seq, topic, frag, ts, correlation: _ } = head;
        let mut text = format!("{:<4}", kind.name());
        if kind.is_numbered() {
            text += &format!(" lane {lane} seq {seq} topic {topic:#06x}");
        }
        if let Some(frag) = frag {
            text += &format!(" part {} of {}", frag.index + 1, frag.count);
        }
        text += &format!(" {}", shown(payload));
        if !is_checked {
            text += "  (unchecked: the session began before)";
        }
        let fields = json!({
            "kind": kind.name(), "lane": lane, "seq": seq, "topic": topic, "ts_us": ts,
            "part": frag.map(|frag| frag.index), "parts": frag.map(|frag| frag.count),
            "payload": hex(payload), "checked": is_checked,
        });
        reading(bytes, text, fields)
    }

    fn link(&mut self, bytes: usize, payload: &[u8]) -> Reading {
        match LinkBody::decode(payload) {
            Ok(LinkBody::Hello(hello)) => {
                let text = format!("LINK HELLO from {:?} mtu {} baud {}", hello.name, hello.mtu, hello.baud);
                let node = hex(&hello.node_id);
                reading(
                    bytes,
                    text,
                    json!({ "kind": "LINK", "link": "HELLO", "name": hello.name, "node": node,
                    "mtu": hello.mtu, "baud": hello.baud, "nonce": hello.nonce }),
                )
            }
            Ok(LinkBody::Welcome { yours, mine, .. }) => {
                let presets = [session_preset(yours, mine), session_preset(mine, yours)];
                if !self.presets.iter().any(|preset| presets.contains(preset)) {
                    self.presets = presets.to_vec();
                }
                reading(bytes, "LINK WELCOME".into(), json!({ "kind": "LINK", "link": "WELCOME" }))
            }
            Ok(LinkBody::Reset { code, .. }) => {
                self.presets.clear();
                let fields = json!({ "kind": "LINK", "link": "RESET", "code": code });
                reading(bytes, format!("LINK RESET code {code}"), fields)
            }
            Err(_) => bad(bytes, "LINK frame of another version"),
        }
    }
}

fn foreign(protocol: Protocol, found: Found<'_>) -> Reading {
    let Found::Message(message) = found else { return bad(0, "no message of this protocol") };
    let mut text = shown(message);
    let mut fields = json!({ "kind": "MESSAGE", "payload": hex(message) });
    if protocol == Protocol::Mavlink
        && let Some(head) = mavlink::Head::of(message)
    {
        text = format!("{}/{}/{} seq {} {text}", head.system, head.component, head.message, head.seq);
        fields = json!({ "kind": "MESSAGE", "system": head.system, "component": head.component,
            "message": head.message, "seq": head.seq, "known": head.is_known(), "payload": hex(message) });
    }
    if protocol == Protocol::Nmea
        && let Some(address) = nmea::address(message)
    {
        fields = json!({ "kind": "MESSAGE", "talker": address.talker, "type": address.kind, "payload": hex(message),
            "text": String::from_utf8_lossy(message) });
    }
    let mut wire = vec![0; Protocol::wire_bytes_max(message.len())];
    let bytes = protocol.encode(message, &mut wire).unwrap_or(message.len());
    reading(bytes, text, fields)
}

fn reading(bytes: usize, text: String, fields: Value) -> Reading {
    let Value::Object(fields) = fields else { return bad(bytes, "nothing") };
    Reading { bytes, bad: false, text, fields }
}

fn bad(bytes: usize, why: &str) -> Reading {
    let mut fields = Map::new();
    fields.insert("kind".into(), "BAD".into());
    fields.insert("why".into(), why.into());
    Reading { bytes, bad: true, text: format!("BAD  {why}"), fields }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text as text, other bytes in hexadecimal digits; only the beginning of much.
fn shown(bytes: &[u8]) -> String {
    let beginning = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let more = if beginning.len() < bytes.len() { "..." } else { "" };
    match std::str::from_utf8(beginning) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{} B {text:?}{more}", bytes.len()),
        Ok(_) | Err(_) => format!("{} B {}{more}", bytes.len(), hex(beginning)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_and_frames_of_other_protocols_are_named() {
        let mut all = Vec::new();
        Readings::new(Some(Protocol::Nmea)).read(b"$GPGGA*56\r\n$GPGGA*57\r\n", &mut all);
        assert_eq!((&*all[0].text, all[0].bytes, all[1].bad), ("9 B \"$GPGGA*56\"", 11, true));
        assert_eq!((&all[0].fields["talker"], &all[0].fields["type"]), (&json!("GP"), &json!("GGA")));
        let mut raw = Readings::new(Some(Protocol::Raw));
        raw.read(b"\x01\xFF", &mut all);
        assert_eq!(all.len(), 2, "until it is silent");
        raw.read(b"", &mut all);
        assert_eq!(all[2].text, "2 B 01ff");
    }

    #[test]
    fn noise_is_no_frame_of_the_link() {
        let mut all = Vec::new();
        Readings::new(None).read(b"\x00\x05noise\x00\x00", &mut all);
        assert_eq!(all.len(), 1);
        assert!(all[0].bad);
    }
}
