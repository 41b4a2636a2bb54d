//! Numbers of a stream as places on a line that does not wrap: place 1 is number 1, and numbers skip 0.

/// Numbers before they begin anew.
const CYCLE: u64 = u32::MAX as u64;

/// The number at a place, which is not 0.
pub(super) const fn number_at(place: u64) -> u32 {
    ((place - 1) % CYCLE) as u32 + 1
}

/// The place with this number that is nearest to `near`; 0 has none.
pub(super) fn place_of(number: u32, near: u64) -> Option<u64> {
    if number == 0 {
        return None;
    }
    let here = near.saturating_sub(1) / CYCLE * CYCLE + u64::from(number);
    let before = here.checked_sub(CYCLE).filter(|&place| place > 0);
    [before, Some(here), Some(here + CYCLE)].into_iter().flatten().min_by_key(|place| place.abs_diff(near))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_numbers_agree_across_the_wrap() {
        for near in [1, 5, CYCLE - 1, CYCLE, CYCLE + 1, 3 * CYCLE + 7] {
            for place in near.saturating_sub(4).max(1)..near + 4 {
                assert_eq!(place_of(number_at(place), near), Some(place), "near {near}");
            }
        }
        assert_eq!([CYCLE, CYCLE + 1].map(number_at), [u32::MAX, 1]);
        assert_eq!(place_of(0, 5), None);
    }
}
