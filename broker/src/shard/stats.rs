//! What the broker counts, told to a session that asks: samples of every shard, under names that say whose they are.
//!
//! ```text
//! broker.*                      the process
//! shard.N.*                     one shard
//! shard.N.lane.NAME.*           one lane of it
//! link.SESSION.*                one peer
//! ```

use std::sync::Arc;

use laneway_proto::control::{Body, Control, Sample, Stats};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::time::Duration;

use super::{Port, Shard};
use crate::config::peers::node_id_text;
use crate::conn::Conn;
use crate::counters::{ByReason, CloseReason};
use crate::histogram::Histogram;
use crate::io::Io;
use crate::line::Seen;
use crate::mesh::Envelope;
use crate::slab::Key;

/// Questions of this shard's sessions that may wait for other shards.
const GATHERINGS_MAX: usize = 16;
/// Peers that one shard tells about in one answer: those for which most waits.
const LINKS_MAX: usize = 64;
/// Bytes that may wait for a peer that asks; one that does not read its answers gets no further ones.
const ASKER_BYTES_MAX: u64 = 256 * 1024;

/// A question, until every shard has answered.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Who asked.
    pub(super) key: Key,
    /// The message to answer.
    id: u32,
    /// Answers still to come.
    left: u32,
    samples: Vec<Sample>,
}

impl<I: Io> Shard<I> {
    pub(super) fn on_stats_request(&mut self, key: Key, id: u32, selector: &str) {
        let Some(conn) = self.conns.at(key) else { return };
        if id == 0 {
            return;
        }
        let waits = self.gatherings.values().any(|gathering| gathering.key == key);
        if waits || self.gatherings.len() >= GATHERINGS_MAX || conn.outbox.wire_bytes() > ASKER_BYTES_MAX {
            self.answer(key, id, CloseCode::Limit, "the broker is still answering; read the answer, then ask again");
            return;
        }
        let mut samples = self.broker_samples(selector);
        samples.extend(self.samples(selector));
        let gathering = Gathering { key, id, left: u32::from(self.mesh.shards()) - 1, samples };
        if gathering.left == 0 {
            self.tell_stats(gathering);
            return;
        }
        self.ticket_last += 1;
        let (ticket, selector) = (self.ticket_last, Arc::<str>::from(selector));
        for shard in self.mesh.others() {
            self.mesh.post(shard, Envelope::StatsAsk { ticket, selector: Arc::clone(&selector) });
        }
        self.gatherings.insert(ticket, gathering);
    }

    pub(super) fn on_stats_told(&mut self, ticket: u64, samples: Vec<Sample>) {
        let Some(gathering) = self.gatherings.get_mut(&ticket) else { return };
        gathering.samples.extend(samples);
        gathering.left -= 1;
        if gathering.left == 0
            && let Some(gathering) = self.gatherings.remove(&ticket)
        {
            self.tell_stats(gathering);
        }
    }

    fn tell_stats(&mut self, gathering: Gathering) {
        let Gathering { key, id, samples, .. } = gathering;
        for part in Stats::parts(samples) {
            self.push_control_bytes(key, &Control::request(id, Body::Stats(part)).to_frame());
        }
    }

    fn broker_samples(&self, selector: &str) -> Vec<Sample> {
        let mut list = List::new(selector);
        list.enter("broker.", |list| {
            list.text("version", env!("CARGO_PKG_VERSION"));
            list.number("shards", u64::from(self.mesh.shards()));
            list.value("uptime_s", (self.now().0 / 1_000_000_000) as f64);
            list.number("topics", u64::from(self.intern.len()));
        });
        list.samples
    }

    /// What this shard counts, as far as the names begin with `selector`.
    pub(super) fn samples(&self, selector: &str) -> Vec<Sample> {
        let mut list = List::new(selector);
        let links = self.links(selector);
        list.enter(&format!("shard.{}.", self.mesh.shard()), |list| {
            self.list_shard(list);
            list.number("links_left_out", links.left_out as u64);
            for (lane, name) in self.lane_names() {
                list.enter(&format!("lane.{name}."), |list| self.list_lane(list, lane));
            }
        });
        for (place, port) in (0_u64..).zip(&self.ports) {
            let number = place * u64::from(self.mesh.shards()) + u64::from(self.mesh.shard());
            list.enter(&format!("port.{number}."), |list| list_port(list, port));
        }
        for conn in links.told {
            list.enter(&format!("link.{}.", conn.number), |list| list_link(list, conn));
        }
        list.samples
    }

    fn list_shard(&self, list: &mut List<'_>) {
        let counters = &self.counters;
        list.number("messages_in", counters.all_in());
        list.number("messages_out", counters.all_out());
        for (name, value) in counters.named() {
            list.number(name, value);
        }
        for reason in LossReason::ALL {
            list.number(&format!("dropped.{}", reason.name()), counters.dropped_for(reason));
        }
        for reason in CloseReason::all() {
            list.number(&format!("closed.{}", reason.name()), counters.closed_for(reason));
        }
        list.number("connections", (self.conns.len() - self.away.len()) as u64);
        list.number("sessions_away", self.away.len() as u64);
        list.number("queue_bytes", self.outbox_bytes());
        list.number("filters", self.router.filters() as u64);
        list.number("retained_topics", u64::from(self.retained.topics()));
        list.number("retained_bytes", self.retained.bytes());
        list.number("buffers_held", u64::from(self.io.pool().held()));
        list.number("timers", self.timers.len() as u64);
    }

    fn list_lane(&self, list: &mut List<'_>, lane: u8) {
        let place = usize::from(lane);
        let depths = self.conns.values().flat_map(|conn| conn.outbox.depths());
        let queue_bytes = depths.filter(|&(of, _)| of == lane).map(|(_, bytes)| bytes).sum();
        list.number("messages_in", self.counters.messages_in[place]);
        list.number("messages_out", self.counters.messages_out[place]);
        list.number("queue_bytes", queue_bytes);
        list.drops(&self.counters.dropped[place]);
        list.histogram("residency_us", self.residency.of_lane(lane), true);
    }

    /// The lanes that have a name, and those that were used without one.
    fn lane_names(&self) -> impl Iterator<Item = (u8, String)> {
        let lanes = &self.settings.lanes;
        (1..LANES_MAX as u8).filter_map(|lane| {
            let used = self.counters.messages_in[usize::from(lane)] + self.counters.messages_out[usize::from(lane)] > 0;
            let named = lanes.get(lane).map(|spec| spec.name.as_str().to_owned());
            named.or_else(|| used.then(|| lane.to_string())).map(|name| (lane, name))
        })
    }

    /// The sessions that `selector` asks for.
    fn links(&self, selector: &str) -> Links<'_> {
        let wanted = |conn: &&Conn| conn.number != 0 && is_link_wanted(selector, conn.number);
        let mut told: Vec<&Conn> = self.conns.values().filter(wanted).collect();
        let left_out = told.len().saturating_sub(LINKS_MAX);
        if left_out > 0 {
            told.select_nth_unstable_by_key(LINKS_MAX, |conn| std::cmp::Reverse(conn.outbox.bytes()));
            told.truncate(LINKS_MAX);
        }
        told.sort_unstable_by_key(|conn| conn.number);
        Links { told, left_out }
    }
}

struct Links<'a> {
    told: Vec<&'a Conn>,
    left_out: usize,
}

/// Whether a name that begins with `link.NUMBER.` may be one that `selector` asks for.
fn is_link_wanted(selector: &str, number: u32) -> bool {
    if "link.".starts_with(selector) {
        return true;
    }
    selector.strip_prefix("link.").is_some_and(|rest| overlaps(&format!("{number}."), rest))
}

/// Whether something can begin with both.
fn overlaps(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn list_link(list: &mut List<'_>, conn: &Conn) {
    list.text("peer", &conn.name());
    list.text("node", &node_id_text(&conn.node_id));
    list.number("bytes_in", conn.bytes_in);
    list.number("bytes_out", conn.bytes_out);
    list.number("frames_in", conn.frames_in);
    list.number("frames_out", conn.outbox.frames_out());
    list.number("subscriptions", conn.filters.len() as u64);
    list.number("queue_bytes", conn.outbox.bytes());
    list.number("stopped", u64::from(conn.is_stopped()));
    list.drops(&conn.outbox.lost());
    let none = Histogram::default();
    list.histogram("residency_us", conn.residency.as_deref().unwrap_or(&none), false);
}

/// A serial port: what its line has seen since it was opened last.
fn list_port(list: &mut List<'_>, port: &Port) {
    list.text("url", &port.url());
    list.number("opened", port.opened());
    list.number("in_session", u64::from(port.in_session()));
    for (kind, count) in port.errors().counts() {
        list.number(&format!("errors.{kind}"), count);
    }
    match port.seen() {
        Some(Seen::Device(counters, dropped)) => {
            for (name, count) in [
                ("frames_good", counters.good),
                ("frames_bad", counters.bad),
                ("frames_stray", counters.stray),
                ("frames_dropped", counters.dropped),
                ("frames_sent", counters.sent),
                ("frames_repeated", counters.repeated),
            ] {
                list.number(name, u64::from(count));
            }
            list.number("without_lane", dropped);
        }
        Some(Seen::Foreign(counters)) => {
            list.number("frames_good", counters.good);
            list.number("frames_bad", counters.bad);
            list.number("frames_dropped", counters.dropped);
            list.number("frames_sent", counters.sent);
            list.number("frames_lost", counters.lost);
            list.number("frames_unknown", counters.unknown);
            list.number("frames_unfit", counters.unfit);
        }
        None => {}
    }
}

/// Samples whose names begin with a selector.
struct List<'a> {
    selector: &'a str,
    /// What the names of the samples that come next begin with.
    prefix: String,
    samples: Vec<Sample>,
}

impl<'a> List<'a> {
    const fn new(selector: &'a str) -> Self {
        Self { selector, prefix: String::new(), samples: Vec::new() }
    }

    /// Lists what is below `part`, unless nothing of it is asked for.
    fn enter(&mut self, part: &str, list: impl FnOnce(&mut Self)) {
        let outside = self.prefix.len();
        self.prefix.push_str(part);
        if overlaps(&self.prefix, self.selector) {
            list(self);
        }
        self.prefix.truncate(outside);
    }

    fn put(&mut self, name: &str, value: f64, text: &str) {
        let name = format!("{}{name}", self.prefix);
        if name.starts_with(self.selector) {
            self.samples.push(Sample { name, value, text: text.into() });
        }
    }

    fn value(&mut self, name: &str, value: f64) {
        self.put(name, value, "");
    }

    fn number(&mut self, name: &str, value: u64) {
        self.put(name, value as f64, "");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, 0.0, text);
    }

    /// The reasons for which something was dropped.
    fn drops(&mut self, drops: &ByReason) {
        for reason in LossReason::ALL {
            if drops[reason.index()] > 0 {
                self.number(&format!("dropped.{}", reason.name()), drops[reason.index()]);
            }
        }
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram, steps: bool) {
        let us = |span: Duration| span.0 as f64 / 1_000.0;
        self.enter(&format!("{name}."), |list| {
            list.number("count", histogram.count());
            if histogram.count() == 0 {
                return;
            }
            list.value("mean", us(histogram.mean()));
            for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p999", 999)] {
                list.value(name, us(histogram.quantile(per_mille)));
            }
            list.value("max", us(histogram.most()));
            if steps {
                for (end, count) in histogram.steps() {
                    list.number(&format!("below_ns.{}", end.0), count);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_the_beginning_of_a_name() {
        for (selector, number, wanted) in [
            ("", 257, true),
            ("li", 257, true),
            ("link.", 257, true),
            ("link.2", 257, true),
            ("link.257", 257, true),
            ("link.257.bytes", 257, true),
            ("link.257.", 2_570, false),
            ("link.25.", 257, false),
            ("shard.", 257, false),
        ] {
            assert_eq!(is_link_wanted(selector, number), wanted, "{selector} {number}");
        }
    }

    #[test]
    fn a_list_has_the_names_that_were_asked_for_in_full() {
        let listed = |selector| {
            let mut list = List::new(selector);
            list.enter("a.", |list| {
                list.number("x", 1);
                list.enter("b.", |list| list.text("y", "word"));
            });
            list.number("z", 2);
            list.samples.into_iter().map(|sample| sample.name).collect::<Vec<_>>()
        };
        assert_eq!(listed(""), ["a.x", "a.b.y", "z"]);
        assert_eq!(listed("a."), ["a.x", "a.b.y"]);
        assert_eq!(listed("a.b.y"), ["a.b.y"]);
        assert_eq!(listed("a.b.yes"), [""; 0]);
    }
}
