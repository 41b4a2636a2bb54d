//! What goes wrong on serial ports: counted by kind, and told on `$sys/port/NUMBER` to whoever wants to do something about it.

use laneway_proto::time::{Duration, Instant};
use serde_json::json;

use super::Shard;
use crate::io::Io;
use crate::tty::TtyErrors;

/// How often a port tells of its errors at most; what comes in between is told together.
const PAUSE: Duration = Duration::from_millis(1_000);
/// How often a driver is asked at most.
const LOOK: Duration = Duration::from_millis(100);

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum PortError {
    /// A frame was damaged, or bytes are no message of the protocol.
    Crc = 0,
    /// A byte had no stop bit.
    Framing,
    /// Bytes came faster than they were taken.
    Overrun,
    /// A parity bit was wrong.
    Parity,
    /// The line was low for longer than a byte.
    Break,
    /// The port is gone.
    HangUp,
}

const KINDS: usize = 6;

impl PortError {
    const ALL: [Self; KINDS] = [Self::Crc, Self::Framing, Self::Overrun, Self::Parity, Self::Break, Self::HangUp];

    /// As it is told.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crc => "crc",
            Self::Framing => "framing",
            Self::Overrun => "overrun",
            Self::Parity => "parity",
            Self::Break => "break",
            Self::HangUp => "hangup",
        }
    }
}

/// The errors of one port since the broker has started.
#[derive(Debug, Default)]
pub(super) struct PortErrors {
    counts: [u64; KINDS],
    told: [u64; KINDS],
    told_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// What the driver and the line said last.
    driver: TtyErrors,
    line: u64,
}

/// One kind of error that is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct News {
    kind: PortError,
    /// In all.
    count: u64,
    /// Since it was told last.
    new: u64,
}

impl PortErrors {
    /// The port was opened: what its driver counts from now on is new.
    pub(super) const fn on_opened(&mut self, driver: TtyErrors) {
        self.driver = driver;
    }

    /// Another line begins to count.
    pub(super) const fn on_begun(&mut self) {
        self.line = 0;
    }

    pub(super) fn note(&mut self, kind: PortError, new: u64) {
        self.counts[kind as usize] += new;
    }

    /// Frames that the line has found bad since it began.
    pub(super) fn on_line(&mut self, bad: u64) {
        self.note(PortError::Crc, bad.saturating_sub(self.line));
        self.line = bad;
    }

    /// Whether the driver is to be asked again.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.looked_at.is_none_or(|at| now.since(at) >= LOOK);
        if due {
            self.looked_at = Some(now);
        }
        due
    }

    /// What the driver has counted since the system has started.
    fn on_driver(&mut self, driver: TtyErrors) {
        let before = std::mem::replace(&mut self.driver, driver);
        for (kind, now, before) in [
            (PortError::Framing, driver.framing, before.framing),
            (PortError::Overrun, driver.overrun, before.overrun),
            (PortError::Parity, driver.parity, before.parity),
            (PortError::Break, driver.breaks, before.breaks),
        ] {
            self.note(kind, u64::from(now.wrapping_sub(before)));
        }
    }

    /// What is to be told now; else, when.
    fn news(&mut self, now: Instant) -> Result<Vec<News>, Instant> {
        let of = |kind: PortError| (self.counts[kind as usize], self.told[kind as usize]);
        let news = PortError::ALL.into_iter().filter_map(|kind| {
            let (count, told) = of(kind);
            (count > told).then_some(News { kind, count, new: count - told })
        });
        let news: Vec<News> = news.collect();
        if let Some(at) = self.told_at.map(|at| at + PAUSE).filter(|&at| at > now && !news.is_empty()) {
            return Err(at);
        }
        if !news.is_empty() {
            (self.told, self.told_at) = (self.counts, Some(now));
        }
        Ok(news)
    }

    /// Every kind with how often it has happened.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PortError::ALL.into_iter().map(|kind| (kind.name(), self.counts[kind as usize]))
    }
}

impl<I: Io> Shard<I> {
    /// Looks whether something went wrong on a port, and tells of it.
    pub(super) fn tell_errors(&mut self, place: usize) {
        let now = self.now();
        let (bad, socket) = self.ports[place].troubles();
        let errors = self.ports[place].errors_mut();
        if let Some(bad) = bad {
            errors.on_line(bad);
        }
        if let Some(socket) = socket.filter(|_| errors.is_due(now)) {
            errors.on_driver(self.io.tty_errors(socket));
        }
        let news = match self.ports[place].errors_mut().news(now) {
            Ok(news) => news,
            Err(at) => return self.set_port_timer(place, at),
        };
        for News { kind, count, new } in news {
            let number = place * usize::from(self.mesh.shards()) + usize::from(self.mesh.shard());
            let port = self.ports[place].path();
            let value = json!({ "port": port, "kind": kind.name(), "count": count, "new": new });
            self.tell(format!("$sys/port/{number}"), &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(10_000_000_000);

    #[test]
    fn every_kind_that_a_driver_counts_is_told_once_with_its_count() {
        let mut errors = PortErrors::default();
        let before = TtyErrors { framing: 3, overrun: u32::MAX, parity: 0, breaks: 7 };
        errors.on_opened(before);
        errors.on_driver(before);
        assert_eq!(errors.news(NOW), Ok(vec![]), "what was before is nothing new");
        errors.on_driver(TtyErrors { framing: 4, overrun: 1, parity: 3, breaks: 11 });
        let news = |kind, count| News { kind, count, new: count };
        let wanted = [
            news(PortError::Framing, 1),
            news(PortError::Overrun, 2),
            news(PortError::Parity, 3),
            news(PortError::Break, 4),
        ];
        assert_eq!(errors.news(NOW), Ok(wanted.to_vec()));
        assert_eq!(errors.news(NOW + PAUSE), Ok(vec![]));
    }

    #[test]
    fn errors_that_follow_each_other_closely_are_told_together() {
        let mut errors = PortErrors::default();
        errors.on_line(1);
        assert_eq!(errors.news(NOW), Ok(vec![News { kind: PortError::Crc, count: 1, new: 1 }]));
        errors.on_line(3);
        assert_eq!(errors.news(NOW), Err(NOW + PAUSE));
        errors.on_line(4);
        errors.on_begun();
        errors.on_line(2);
        errors.note(PortError::HangUp, 1);
        let later = NOW + PAUSE;
        let wanted =
            [News { kind: PortError::Crc, count: 6, new: 5 }, News { kind: PortError::HangUp, count: 1, new: 1 }];
        assert_eq!(errors.news(later), Ok(wanted.to_vec()), "across an opening, too");
        assert_eq!(errors.counts().map(|(_, count)| count).sum::<u64>(), 7);
    }
}
