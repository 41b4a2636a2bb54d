//! Random numbers from a seed: the same seed, the same run.

/// A stream of evenly drawn numbers (SplitMix64); not for secrets.
///
/// ```
/// use laneway_client::link::Draws;
/// let (mut one, mut same) = (Draws::new(7), Draws::new(7));
/// assert_eq!(one.next_u64(), same.next_u64());
/// assert_ne!(one.next_u64(), one.next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
