//! Random numbers by seed: the same seed gives the same numbers on every machine.

/// A stream of numbers (xoshiro256**), independent of every other stream.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// One step of the splitmix64 sequence: turns any seed into well-mixed bits.
const fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream named `stream` of a seed. Streams of one seed do not disturb each other, so one more draw in the
    /// network does not change what the clients do.
    pub const fn new(seed: u64, stream: u64) -> Self {
        let mut mix = seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let state = [splitmix(&mut mix), splitmix(&mut mix), splitmix(&mut mix), splitmix(&mut mix)];
        Self { state }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `bound`, which is at least 1.
    pub const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a choice needs at least one option");
        ((self.bits() as u128 * bound as u128) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A place in a list of `count` things.
    pub const fn index(&mut self, count: usize) -> usize {
        self.below(count as u64) as usize
    }

    /// True `permille` times in a thousand.
    pub const fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < permille as u64
    }

    /// One of `options`.
    pub fn pick<'a, T>(&mut self, options: &'a [T]) -> &'a T {
        &options[self.index(options.len())]
    }
}

/// The separate streams of one run.
#[derive(Clone, Debug)]
pub struct Streams {
    /// Latencies, chunk sizes, faults.
    pub network: Rng,
    /// What clients do.
    pub workload: Rng,
    /// Who runs first.
    pub schedule: Rng,
}

impl Streams {
    /// The streams of a seed.
    pub const fn new(seed: u64) -> Self {
        Self { network: Rng::new(seed, 1), workload: Rng::new(seed, 2), schedule: Rng::new(seed, 3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_its_streams_are_independent() {
        let draw = |mut rng: Rng| (0..8).map(|_| rng.bits()).collect::<Vec<_>>();
        assert_eq!(draw(Streams::new(7).network), draw(Streams::new(7).network));
        assert_ne!(draw(Streams::new(7).network), draw(Streams::new(8).network));
        assert_ne!(draw(Streams::new(7).network), draw(Streams::new(7).workload));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut rng = Rng::new(1, 1);
        let drawn: Vec<u64> = (0..1_000).map(|_| rng.between(3, 6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        assert_eq!((0..100).filter(|_| rng.chance(0)).count(), 0);
        assert_eq!((0..100).filter(|_| rng.chance(1_000)).count(), 100);
    }
}
