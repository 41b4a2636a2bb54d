//! From the device to the broker: what its frames say, in frames of a stream link.

use std::collections::BTreeMap;

use laneway_proto::control::{self, Body, DeclareTopics, Hello, Subscribe, Unsubscribe};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions};
use laneway_proto::header::{Flags, Header, Kind, seq_after};
use laneway_proto::limits::{NODE_ID_BYTES, WIRE_VERSION};
use laneway_proto::serial::control::{Control, SubOptions};
use laneway_proto::serial::frame::{Head, SerialKind};
use laneway_proto::serial::hello::SERIAL_NODE_ID_BYTES;
use laneway_proto::serial::link::Incoming;
use laneway_proto::session::handshake::{PREFACE, feature};

use super::{ASSEMBLY_BYTES, Desk, LINE_LANES, Line};

/// What stands behind a device's own eight bytes in the node id that others are told.
const NODE_ID_TAIL: &[u8; NODE_ID_BYTES - SERIAL_NODE_ID_BYTES] = b"\0serial\0";

impl Line {
    /// Preface and HELLO of the device, whose session has just opened.
    pub fn introduce(&self, port: &str, out: &mut Vec<u8>) {
        let peer = self.link.peer();
        let (host, device) = self.link.nonces();
        let metadata = [("name", peer.name()), ("port", port)];
        let metadata: BTreeMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let hello = Hello {
            version_min: u32::from(WIRE_VERSION),
            version_max: u32::from(WIRE_VERSION),
            node_id: [&peer.node_id[..], NODE_ID_TAIL].concat(),
            epoch: u64::from(device),
            nonce: u64::from(host) << 32 | u64::from(device),
            roles: vec!["device".into()],
            features: feature::BATCH | feature::FRAGMENTS | feature::CONFIRM,
            metadata,
            ..Hello::default()
        };
        out.extend_from_slice(&PREFACE);
        control::Control::new(Body::Hello(hello)).append_frame(out);
    }
}

impl Desk {
    /// A frame of a lane has arrived, in the lane's order.
    pub(super) fn on_frame(&mut self, frame: &Incoming<'_>, topics_max: u32) {
        let Incoming { ref head, missed, payload } = *frame;
        let lane = usize::from(head.lane);
        if lane >= LINE_LANES {
            return;
        }
        if self.must_take(head.lane) {
            self.grants[lane].on_frame(head.seq);
        } else if self.stopped && head.kind == SerialKind::Pub {
            return;
        }
        let Some(frag) = head.frag else { return self.on_message(head, payload, topics_max) };
        let mut whole = std::mem::take(&mut self.parts[lane]);
        if frag.index == 0 {
            whole.clear();
        } else if whole.is_empty() || missed > 0 {
            // Its beginning is missing.
            return;
        }
        if whole.len() + payload.len() > usize::from(ASSEMBLY_BYTES) {
            return;
        }
        whole.extend_from_slice(payload);
        if frag.index + 1 < frag.count {
            self.parts[lane] = whole;
        } else {
            self.on_message(head, &whole, topics_max);
        }
    }

    fn on_message(&mut self, head: &Head, message: &[u8], topics_max: u32) {
        match head.kind {
            SerialKind::Pub => self.publish(head, message),
            SerialKind::Ctrl => {
                // One that is malformed, or of a later version, says nothing.
                if let Ok(Some(control)) = Control::decode(message) {
                    self.on_control(control, topics_max);
                }
            }
            // Nobody serves any yet.
            SerialKind::Req | SerialKind::Rsp => {}
            SerialKind::Ack | SerialKind::Time | SerialKind::Poll | SerialKind::Link => {}
        }
    }

    fn publish(&mut self, head: &Head, message: &[u8]) {
        let Some((stream, retain)) =
            self.topics.of_device(head.topic).and_then(|known| Some((known.stream?, known.retain)))
        else {
            return;
        };
        let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
        let options = MessageOptions { retain, ..MessageOptions::default() }.encode(&mut block);
        let ts = head.ts.map(|ts| self.nanoseconds(ts).to_le_bytes());
        let number = &mut self.numbers[usize::from(head.lane)];
        *number = seq_after(*number, 1);
        let mut flags = Flags::default();
        if ts.is_some() {
            flags = flags.with(Flags::TS);
        }
        if retain {
            flags = flags.with(Flags::XHDR);
        }
        let ts = ts.as_ref().map_or(&[][..], |ts| &ts[..]);
        let header = Header {
            topic: stream,
            lane: head.lane,
            seq: *number,
            flags,
            ..Header::new(Kind::PUB, ts.len() + options.len() + message.len())
        };
        self.up.extend_from_slice(&header.encode());
        self.up.extend_from_slice(ts);
        self.up.extend_from_slice(options);
        self.up.extend_from_slice(message);
    }

    /// The device's clock, which wraps, as one that does not.
    pub(super) fn nanoseconds(&mut self, micros: u32) -> u64 {
        let (last, wraps) = &mut self.clock;
        // Lanes overtake each other: a little back is back.
        let forward = micros.wrapping_sub(*last) < u32::MAX / 2;
        if forward && micros < *last {
            *wraps += 1;
        }
        let epoch = if !forward && micros > *last { wraps.saturating_sub(1) } else { *wraps };
        if forward {
            *last = micros;
        }
        (u64::from(epoch) << 32 | u64::from(micros)) * 1_000
    }

    fn on_control(&mut self, control: Control<'_>, topics_max: u32) {
        match control {
            Control::Topic { topic, retain, name } => match self.topics.bind(topic, name, retain, topics_max) {
                Ok(Some(id)) => {
                    let name = self.topics.name(topic).map(|name| name.as_ref().to_owned()).unwrap_or_default();
                    let declared = control::Topic { id, name, ..control::Topic::default() };
                    self.say(0, Body::DeclareTopics(DeclareTopics { topics: vec![declared] }));
                }
                Ok(None) => {}
                Err((code, text)) => self.push_result(0, code.number() as u8, text.as_bytes()),
            },
            Control::Sub { request, topic, options, filter } => match self.filter(topic, filter) {
                Some(pattern) => {
                    let sub = sub(pattern, options);
                    self.say(request, Body::Subscribe(Subscribe { subs: vec![sub] }));
                }
                None => self.refuse(request),
            },
            Control::Unsub { request, topic, filter } => match self.filter(topic, filter) {
                Some(pattern) => self.say(request, Body::Unsubscribe(Unsubscribe { patterns: vec![pattern] })),
                None => self.refuse(request),
            },
            // The link has taken the credit; of what the device lost nobody is told yet; the others are for devices.
            Control::Credit(_) | Control::Lost { .. } | Control::Confirm(_) | Control::Result { .. } => {}
        }
    }

    /// The filter of a SUB or UNSUB; `None` if the topic is not in the table, or the filter is no text.
    fn filter(&self, topic: u16, filter: &[u8]) -> Option<String> {
        if topic == 0 {
            return String::from_utf8(filter.to_vec()).ok();
        }
        self.topics.name(topic).map(|name| name.as_ref().to_owned())
    }

    fn refuse(&mut self, request: u8) {
        if request != 0 {
            self.push_result(request, CloseCode::Forbidden.number() as u8, b"no such topic, or no text");
        }
    }

    fn say(&mut self, request: u8, body: Body) {
        control::Control::request(u32::from(request), body).append_frame(&mut self.up);
    }
}

fn sub(pattern: String, options: SubOptions) -> control::Sub {
    let SubOptions { retained, no_echo, lane_plus_one, policy, max_rate_hz, ttl_ms } = options;
    control::Sub {
        pattern,
        max_rate_hz: u32::from(max_rate_hz),
        retained,
        policy: u32::from(policy),
        ttl_ms,
        lane_plus_one: u32::from(lane_plus_one),
        no_echo,
        ..control::Sub::default()
    }
}
