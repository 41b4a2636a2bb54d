//! One way of a line: bytes at their time, and what happens to them.

use std::collections::VecDeque;

use laneway_proto::time::{Duration, Instant};

use super::random::Random;

/// What happens to bytes; probabilities for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Damage {
    /// Of each bit.
    pub(crate) flip: f64,
    /// Of each byte.
    pub(crate) drop: f64,
    /// Of each byte: another one comes before it.
    pub(crate) insert: f64,
    /// Of each byte: 8 wrong ones begin.
    pub(crate) burst: f64,
}

pub(crate) struct Wire {
    ns_per_byte: u64,
    free_at: Instant,
    /// Arrival and value.
    bytes: VecDeque<(Instant, u8)>,
    /// The same of noise, and when it ends.
    noise: VecDeque<(Instant, u8)>,
    noisy_until: Instant,
    random: Random,
    pub(crate) damage: Damage,
    /// Between the last bit of a byte and its arrival.
    pub(crate) latency: Duration,
    burst_left: u8,
    /// Time the line was busy.
    pub(crate) busy: Duration,
    /// Nothing passes.
    pub(crate) unplugged: bool,
    /// What passes is unreadable: the two ends run at different rates.
    pub(crate) scrambled: bool,
}

impl Wire {
    pub(crate) fn new(baud: u32, seed: u64) -> Self {
        Self {
            ns_per_byte: 10_000_000_000 / u64::from(baud),
            free_at: Instant(0),
            bytes: VecDeque::new(),
            noise: VecDeque::new(),
            noisy_until: Instant(0),
            random: Random::new(seed),
            damage: Damage::default(),
            latency: Duration::from_millis(1),
            burst_left: 0,
            busy: Duration::ZERO,
            unplugged: false,
            scrambled: false,
        }
    }

    /// Puts bytes behind those that have not left yet.
    pub(crate) fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.free_at = self.free_at.max(now);
        for &byte in bytes {
            self.free_at = self.free_at + Duration(self.ns_per_byte);
            self.busy.0 += self.ns_per_byte;
            self.damaged(byte);
        }
    }

    fn damaged(&mut self, byte: u8) {
        let Damage { flip, drop, insert, burst } = self.damage;
        let arrival = self.free_at + self.latency;
        if self.unplugged || self.free_at <= self.noisy_until || drop > 0.0 && self.random.chance(drop) {
            return;
        }
        if insert > 0.0 && self.random.chance(insert) {
            let extra = self.random.next() as u8;
            self.bytes.push_back((arrival, extra));
        }
        if burst > 0.0 && self.random.chance(burst) {
            self.burst_left = 8;
        }
        let mut byte = byte;
        if self.scrambled {
            byte = self.random.next() as u8;
        }
        if self.burst_left > 0 {
            self.burst_left -= 1;
            byte = self.random.next() as u8;
        }
        if flip > 0.0 {
            for bit in 0..8 {
                byte ^= u8::from(self.random.chance(flip)) << bit;
            }
        }
        self.bytes.push_back((arrival, byte));
    }

    /// So many bytes of noise from now on; what is sent meanwhile is lost in it.
    pub(crate) fn garbage(&mut self, now: Instant, bytes: usize) {
        let mut at = now;
        for _ in 0..bytes {
            at = at + Duration(self.ns_per_byte);
            let byte = self.random.next() as u8;
            self.noise.push_back((at + self.latency, byte));
        }
        let latency = self.latency;
        self.bytes.retain(|(arrival, _)| *arrival <= now + latency || *arrival > at + latency);
        self.noisy_until = at;
    }

    /// What has not left yet never does.
    pub(crate) fn cut(&mut self, now: Instant) {
        let latency = self.latency;
        self.bytes.retain(|(arrival, _)| *arrival <= now + latency);
        self.free_at = self.free_at.min(now);
    }

    /// Of what has arrived and was not read, only the first so many bytes are left.
    pub(crate) fn overrun(&mut self, now: Instant, bytes: usize) {
        let mut unread = 0;
        self.bytes.retain(|(arrival, _)| {
            unread += usize::from(*arrival <= now);
            *arrival > now || unread <= bytes
        });
    }

    /// Airtime that was handed over and has not left.
    pub(crate) fn below(&self, now: Instant) -> Duration {
        self.free_at.since(now)
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        [&self.bytes, &self.noise].into_iter().filter_map(|queue| queue.front()).map(|(arrival, _)| *arrival).min()
    }

    pub(crate) fn arrive(&mut self, now: Instant) -> Option<u8> {
        let next = self.next_arrival().filter(|next| *next <= now)?;
        let is_noise = self.noise.front().is_some_and(|(arrival, _)| *arrival == next);
        let queue = if is_noise { &mut self.noise } else { &mut self.bytes };
        queue.pop_front().map(|(_, byte)| byte)
    }
}
