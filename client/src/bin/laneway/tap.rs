//! `laneway tap`: what is on the wire of a broadcast or multicast address, a line for each frame.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use laneway_client::{ConnectError, Endpoint, Tap as Socket};
use laneway_proto::datagram::broadcast::XHDR_TOPIC;
use laneway_proto::datagram::header::{DatagramHeader, Form, Stray};
use laneway_proto::datagram::limits::DATAGRAM_BYTES_MAX;
use laneway_proto::datagram::{heartbeat, loss, nak};
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::HEADER_BYTES;

use crate::args::Tap;
use crate::failure::Failure;
use crate::format::escape_text;

/// Payload bytes that are shown.
const SHOWN_BYTES: usize = 64;
/// Names of topics that are remembered.
const NAMES_MAX: usize = 65_536;

pub(crate) fn run(url: Option<&str>, args: &Tap) -> Result<(), Failure> {
    let url = args.at.as_deref().or(url).unwrap_or_default();
    let endpoint: Endpoint = url.parse().map_err(|error| Failure::Usage(format!("{error}")))?;
    let socket = Socket::open(&endpoint).map_err(|error| {
        if let ConnectError::Url(_) = error {
            let why = "only what is said to all can be heard; write udp+broadcast:// or udp+multicast://";
            return Failure::Usage(format!("{endpoint}: {why}"));
        }
        Failure::failed(error)
    })?;
    eprintln!("listening at {endpoint}");
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut decoder = Decoder::default();
    let mut left = args.count;
    while left != Some(0) {
        let (bytes, from) =
            socket.recv(&mut buffer).map_err(|error| Failure::failed(format!("{endpoint}: {error}")))?;
        let lines = decoder.lines(from, buffer.get(..bytes).unwrap_or_default());
        let mut out = io::stdout().lock();
        out.write_all(&lines).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        left = left.map(|left| left - 1);
    }
    Ok(())
}

/// Makes lines of datagrams; knows the topics by what it has heard.
#[derive(Default)]
struct Decoder {
    names: HashMap<(u32, u32), String>,
}

impl Decoder {
    /// A line for each frame of a datagram, or one that says what is wrong with it.
    fn lines(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (header, frames) = match DatagramHeader::open(bytes) {
            Ok(opened) => opened,
            Err(stray) => {
                let why = match stray {
                    Stray::NotLaneway => "no Laneway datagram".to_owned(),
                    Stray::Version(version) => format!("a Laneway datagram of version {version}"),
                    Stray::Flags => "a Laneway datagram with flags that cannot be".to_owned(),
                    Stray::Crc => "a Laneway datagram with a wrong CRC".to_owned(),
                };
                out.extend_from_slice(format!("{from} {why}, {} bytes\n", bytes.len()).as_bytes());
                return out;
            }
        };
        let (who, sender) = match header.form {
            Form::Broadcast { tag, sender } => (format!("sender {sender:08x} tag {tag:08x}"), sender),
            Form::Session { session, ack } => (format!("session {session:08x} ack {ack}"), 0),
            Form::Hello { session, own } => (format!("hello {session:08x} own {own:08x}"), 0),
        };
        let front = format!("{from} {who} epoch {} number {}", header.epoch, header.number);
        let mut rest = frames;
        while !rest.is_empty() {
            let decoded = rest.first_chunk::<HEADER_BYTES>().and_then(|head| Header::decode(head).ok());
            let parts = decoded.and_then(|frame| Some((frame, rest.split_at_checked(usize::from(frame.len))?)));
            let Some((frame, (bytes, behind))) = parts else {
                out.extend_from_slice(format!("{front} {} bytes that are no frame\n", rest.len()).as_bytes());
                break;
            };
            rest = behind;
            out.extend_from_slice(front.as_bytes());
            self.frame(sender, &frame, bytes.get(HEADER_BYTES..).unwrap_or_default(), &mut out);
            out.push(b'\n');
        }
        out
    }

    fn frame(&mut self, sender: u32, header: &Header, body: &[u8], out: &mut Vec<u8>) {
        match header.kind {
            Kind::PUB | Kind::BATCH => self.data(sender, header, body, out),
            _ => out.extend_from_slice(words(header, body).as_bytes()),
        }
    }

    fn data(&mut self, sender: u32, header: &Header, body: &[u8], out: &mut Vec<u8>) {
        let kind = if header.kind == Kind::PUB { "PUB" } else { "BATCH" };
        let Ok((extensions, payload)) = Extensions::decode(header.flags, body) else {
            out.extend_from_slice(format!(" {kind} with extensions that cannot be").as_bytes());
            return;
        };
        let key = (sender, header.topic);
        let mut entries = extensions.xhdr.iter().flat_map(|xhdr| xhdr.iter()).flatten();
        let name = entries.find(|(kind, _)| *kind == XHDR_TOPIC).and_then(|(_, name)| std::str::from_utf8(name).ok());
        if let Some(name) = name.filter(|_| self.names.len() < NAMES_MAX) {
            self.names.insert(key, name.to_owned());
        }
        out.extend_from_slice(format!(" {kind} ").as_bytes());
        match self.names.get(&key) {
            Some(name) => escape_text(out, name.as_bytes()),
            None => out.extend_from_slice(format!("topic {}", header.topic).as_bytes()),
        }
        let mut text = format!(" lane {} seq {}", header.lane, header.seq);
        if header.flags.has(Flags::RETX) {
            text.push_str(" again");
        }
        if header.ckey != 0 {
            let _ = write!(text, " key {}", header.ckey);
        }
        if let Some(frag) = extensions.frag {
            let _ = write!(text, " part {} of {} of {} bytes", frag.index + 1, frag.count, frag.total_len);
        }
        match header.kind {
            Kind::BATCH => {
                let messages = batch::message_count(payload).unwrap_or_default();
                let _ = write!(text, " {messages} messages");
                out.extend_from_slice(text.as_bytes());
            }
            _ => {
                let _ = write!(text, " {} bytes ", payload.len());
                out.extend_from_slice(text.as_bytes());
                escape_text(out, payload.get(..SHOWN_BYTES).unwrap_or(payload));
                if payload.len() > SHOWN_BYTES {
                    out.extend_from_slice(b"...");
                }
            }
        }
    }
}

/// A frame that is no message, in words.
fn words(header: &Header, body: &[u8]) -> String {
    let mut text = String::new();
    let written = match header.kind {
        Kind::HEARTBEAT => heartbeat::decode(body).ok().map(|beats| {
            text.push_str(" HEARTBEAT");
            for beat in beats {
                let _ = write!(text, " lane {} has {} to {}", beat.lane, beat.trail, beat.lead);
            }
        }),
        Kind::NAK => nak::decode(header, body).ok().map(|nak| {
            let stream = nak.stream;
            let _ = write!(text, " NAK of {:08x} tag {:08x} lane {}:", stream.sender, stream.tag, stream.lane);
            for missing in nak {
                let _ = write!(text, " {}+{}", missing.first, missing.count);
            }
        }),
        Kind::LOST => loss::RangeLost::decode(header, body).ok().map(|lost| {
            let _ = write!(text, " LOST lane {} {}+{} {}", lost.lane, lost.first, lost.count, lost.reason.name());
        }),
        kind => word(kind).map(|word| text.push_str(word)),
    };
    if written.is_none() {
        let _ = write!(text, " kind {:#04x}", header.kind.0);
    }
    let _ = write!(text, " {} bytes", body.len());
    text
}

/// The name of a kind of which nothing more is said.
const fn word(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::CTRL => " CTRL",
        Kind::PING => " PING",
        Kind::PONG => " PONG",
        Kind::ACK => " ACK",
        Kind::CREDIT => " CREDIT",
        Kind::PAD => " PAD",
        Kind::DEMOTE => " DEMOTE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(hex: &str) -> String {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let from = ([198, 18, 0, 1], 4_000).into();
        String::from_utf8(Decoder::default().lines(from, &bytes)).expect("text")
    }

    /// `broadcast` of docs/UDP.md, with a name in front.
    #[test]
    fn a_datagram_is_decoded_as_the_specification_says() {
        let header = "b1013412 f7924f51 0d0c0b0a 4d000000";
        let named = "18 00 01 10 01000100 03000000 d2040000  08 00 01 03 61 2f 62 00  6869";
        let named = named.replacen("18", "1a", 1);
        assert_eq!(
            lines(&format!("{header}{named}")),
            "198.18.0.1:4000 sender 0a0b0c0d tag 514f92f7 epoch 4660 number 77 PUB a/b lane 3 seq 1234 2 bytes hi\n"
        );
        let beat = "20008500 00000000 00000000 00000000 01000000 02000000 40000000 e8030000";
        assert!(lines(&format!("{header}{beat}")).ends_with(" HEARTBEAT lane 2 has 64 to 1000 16 bytes\n"));
    }

    #[test]
    fn what_is_no_datagram_or_no_frame_is_said_to_be_none() {
        assert_eq!(lines("474554"), "198.18.0.1:4000 no Laneway datagram, 3 bytes\n");
        let header = "b1013412 f7924f51 0d0c0b0a 4d000000";
        assert!(lines(&format!("{header}ff0001")).ends_with(" 3 bytes that are no frame\n"));
    }
}
