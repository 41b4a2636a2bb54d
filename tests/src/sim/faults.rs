//! Everything that may go wrong in a simulated network, in one struct drawn from the seed.

use laneway_proto::time::Duration;

use super::net::Latency;
use super::rng::Rng;

/// Bytes per second that any connection carries at least, so that a run ends.
const BYTES_PER_SECOND_MIN: u64 = 5_000;

/// All knobs of the simulated network. It is drawn from the seed and printed with a seed that failed.
///
/// Each family is switched on or off by the seed, so that some runs are calm, some have one fault, and some have all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkConfig {
    /// Least delay of a pair of hosts, microseconds.
    pub latency_us_min: u64,
    /// Most delay of an ordinary pair, microseconds.
    pub latency_us_max: u64,
    /// Pairs that are always slow, per thousand; theirs is a hundred times as long.
    pub slow_pair_permille: u32,
    /// Least bytes a direction of a connection holds.
    pub capacity_bytes_min: u64,
    /// Most bytes a direction of a connection holds.
    pub capacity_bytes_max: u64,
    /// Most bytes one receive hands over.
    pub receive_bytes_max: u64,
    /// Receives that hand over a single byte, per thousand.
    pub receive_one_byte_permille: u32,
    /// Sends that end short, per thousand.
    pub short_send_permille: u32,
    /// Receives that end although nothing is wrong, per thousand.
    pub restart_permille: u32,
    /// Receives that find no buffer although one is free by the time they report it, per thousand.
    pub no_buffers_permille: u32,
    /// Accepted connections after which accepting ends although nothing is wrong, per thousand.
    pub accept_restart_permille: u32,
    /// Accepts that find no free descriptor, per thousand.
    pub no_descriptor_permille: u32,
    /// Descriptors the broker may have.
    pub descriptors_max: u32,
    /// Connections that wait to be accepted, per listener.
    pub backlog_max: usize,
    /// Dials that are refused, per thousand.
    pub refuse_permille: u32,
    /// Dials that nobody ever answers, per thousand.
    pub hang_permille: u32,
    /// Connections that are torn down in the middle, per thousand.
    pub reset_permille: u32,
    /// Least bytes a connection carries before it is torn down, if it is.
    pub reset_after_bytes_min: u64,
    /// Most bytes a connection carries before it is torn down, if it is.
    pub reset_after_bytes_max: u64,
    /// Writes that find the pair partitioned, per ten thousand.
    pub partition_per_10k: u32,
    /// Longest partition, milliseconds.
    pub partition_ms_max: u64,
    /// Completions one turn hands over at most.
    pub completions_max: usize,
    /// Time from a completion to the turn that reads it, microseconds at most.
    pub wake_us_max: u64,
    /// Wake-ups of a shard that come late, as if something else had its core, per thousand.
    pub stall_permille: u32,
    /// Longest such delay, microseconds.
    pub stall_us_max: u64,
    /// Turns that are woken for nothing, per thousand.
    pub spurious_permille: u32,
}

impl NetworkConfig {
    /// A network in which nothing goes wrong.
    pub const fn calm() -> Self {
        Self {
            latency_us_min: 20,
            latency_us_max: 100,
            slow_pair_permille: 0,
            capacity_bytes_min: 64 * 1024,
            capacity_bytes_max: 256 * 1024,
            receive_bytes_max: 64 * 1024,
            receive_one_byte_permille: 0,
            short_send_permille: 0,
            restart_permille: 0,
            no_buffers_permille: 0,
            accept_restart_permille: 0,
            no_descriptor_permille: 0,
            descriptors_max: 1_000_000,
            backlog_max: 4_096,
            refuse_permille: 0,
            hang_permille: 0,
            reset_permille: 0,
            reset_after_bytes_min: 1,
            reset_after_bytes_max: 1,
            partition_per_10k: 0,
            partition_ms_max: 1,
            completions_max: 4_096,
            wake_us_max: 5,
            stall_permille: 0,
            stall_us_max: 1,
            spurious_permille: 0,
        }
    }

    /// The network of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        let mut config = Self::calm();
        config.latency_us_max = *rng.pick(&[30, 200, 1_000, 20_000]);
        config.wake_us_max = *rng.pick(&[1, 20, 300]);
        config.completions_max = *rng.pick(&[1, 4, 64, 4_096]);
        if rng.chance(300) {
            config.slow_pair_permille = 200;
        }
        if rng.chance(500) {
            config.capacity_bytes_min = *rng.pick(&[1, 16, 500]);
            config.capacity_bytes_max = *rng.pick(&[700, 5_000, 70_000]);
        }
        if rng.chance(600) {
            config.receive_bytes_max = rng.between(1, 1_000);
            config.receive_one_byte_permille = *rng.pick(&[0, 50, 500]);
        }
        if rng.chance(500) {
            config.short_send_permille = *rng.pick(&[10, 200, 800]);
        }
        if rng.chance(400) {
            config.restart_permille = *rng.pick(&[5, 100]);
        }
        if rng.chance(400) {
            config.no_buffers_permille = *rng.pick(&[5, 100]);
        }
        config.draw_connection_faults(rng);
        config
    }

    fn draw_connection_faults(&mut self, rng: &mut Rng) {
        if rng.chance(400) {
            self.accept_restart_permille = 200;
        }
        if rng.chance(300) {
            self.no_descriptor_permille = 200;
        }
        if rng.chance(200) {
            self.descriptors_max = rng.between(3, 12) as u32;
        }
        if rng.chance(200) {
            self.backlog_max = rng.between(1, 4) as usize;
        }
        if rng.chance(300) {
            self.refuse_permille = 150;
            self.hang_permille = 150;
        }
        if rng.chance(400) {
            self.reset_permille = *rng.pick(&[100, 500]);
            self.reset_after_bytes_max = *rng.pick(&[40, 400, 40_000]);
        }
        if rng.chance(300) {
            self.partition_per_10k = *rng.pick(&[5, 100]);
            self.partition_ms_max = *rng.pick(&[5, 500, 15_000]);
        }
        if rng.chance(300) {
            self.spurious_permille = 200;
        }
        if rng.chance(400) {
            self.stall_permille = *rng.pick(&[10, 200]);
            self.stall_us_max = *rng.pick(&[1_000, 50_000]);
        }
    }

    /// The faults stop: what is up stays up, and what waits gets through. Sizes and delays stay as they are.
    pub const fn heal(&mut self) {
        let calm = Self::calm();
        self.no_descriptor_permille = calm.no_descriptor_permille;
        self.descriptors_max = calm.descriptors_max;
        self.refuse_permille = calm.refuse_permille;
        self.hang_permille = calm.hang_permille;
        self.reset_permille = calm.reset_permille;
        self.partition_per_10k = calm.partition_per_10k;
    }

    /// The delay of a new pair.
    pub fn draw_latency(&self, rng: &mut Rng) -> Latency {
        let slow = if rng.chance(self.slow_pair_permille) { 100 } else { 1 };
        let base = Duration::from_micros(rng.between(self.latency_us_min, self.latency_us_max) * slow);
        Latency { base, jitter: Duration(base.0 / 4) }
    }

    /// Bytes that one direction of a new connection holds: enough for a few kilobytes a second at its delay.
    pub fn draw_capacity(&self, rng: &mut Rng, latency: Latency) -> usize {
        let drawn = rng.between(self.capacity_bytes_min, self.capacity_bytes_max.max(self.capacity_bytes_min));
        let round_trip_us = 2 * (latency.base.0 + latency.jitter.0) / 1_000;
        drawn.max(round_trip_us * BYTES_PER_SECOND_MIN / 1_000_000) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_drawn_from_its_seed_and_stops_failing_when_healed() {
        let draw = |seed| NetworkConfig::draw(&mut Rng::new(seed, 1));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let mut worst = draw(3);
        worst.reset_permille = 1_000;
        worst.heal();
        assert_eq!((worst.reset_permille, worst.refuse_permille, worst.hang_permille), (0, 0, 0));
    }
}
