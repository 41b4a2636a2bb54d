//! Middle and spread of a few runs.

/// The middle of some values, with the smallest and the largest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spread {
    /// Half of the values are at most this; the mean of the two middle ones if their count is even.
    pub median: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

impl Spread {
    /// `None` if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(*lower, *upper), min, max })
    }

    /// Of the ratios of two contestants, round by round; rounds in which one of them has no value are left out.
    pub fn of_ratios(over: &[Option<f64>], under: &[Option<f64>]) -> Option<Self> {
        Self::of(over.iter().zip(under).filter_map(|(over, under)| match (over, under) {
            (Some(over), Some(under)) if *under > 0.0 => Some(over / under),
            _ => None,
        }))
    }
}

/// Where the median of what the values were drawn from lies with a probability of at least 95 %, whatever its
/// distribution: between two of the sorted values. `None` below six values, which cannot say so.
pub fn median_interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    // Of `count` tosses of a coin: the chance of at most `low` heads, added up until it would exceed 2.5 %.
    let mut toss = 0.5f64.powi(i32::try_from(count).ok()?);
    let (mut below, mut low) = (0.0, None);
    for heads in 0..count {
        below += toss;
        if below > 0.025 {
            break;
        }
        low = Some(heads);
        toss *= (count - heads) as f64 / (heads + 1) as f64;
    }
    let low = low?;
    Some((*sorted.get(low)?, *sorted.get(count - 1 - low)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_lost_rounds_are_left_out() {
        let over = [Some(1.0), None, Some(30.0)];
        let under = [Some(2.0), Some(5.0), Some(10.0)];
        assert_eq!(Spread::of_ratios(&over, &under), Some(Spread { median: 1.75, min: 0.5, max: 3.0 }));
        assert_eq!(Spread::of_ratios(&over[1..2], &under[1..2]), None);
    }

    #[test]
    fn the_median_of_twenty_pairs_lies_between_the_sixth_and_the_fifteenth() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(median_interval(&values), Some((6.0, 15.0)));
        assert_eq!(median_interval(&values[..6]), Some((15.0, 20.0)), "six values: all of them");
        assert_eq!(median_interval(&values[..5]), None, "five can all lie on one side with more than 5 %");
    }
}
