//! Interleaved rounds: each measures every contestant once, so that whatever else the machine does hits all alike.

use std::time::{Duration, Instant};

use crate::args::Common;
use crate::contest::{Arena, Cell, Contestant, named};
use crate::error::Result;
use crate::load::saturate::{self, Figure, Timing};
use crate::report;
use crate::stats::Spread;

/// A run whose load or target waited longer than this share of it for a processor is repeated.
pub const WAIT_SHARE_CLEAN: f64 = 0.08;
/// After this time nothing is repeated and no further round starts, so that a case ends within 15 minutes.
const REPEATING_MAX: Duration = Duration::from_secs(10 * 60);
/// Runs before the first round that do not count.
const WARM_UP_RUNS: u32 = 2;

/// A run that says how long it had to wait.
pub trait Waited {
    /// Share of the time that load and target waited for a processor.
    fn wait_share(&self) -> f64;
}

impl Waited for Figure {
    fn wait_share(&self) -> f64 {
        self.wait_share
    }
}

/// What became of one run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Attempted<T> {
    /// The attempt that waited least; `None` if even that one waited too long to count.
    pub best: Option<T>,
    /// Repeats it took.
    pub repeats: u32,
}

/// How often a run is repeated, and what counts in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Patience {
    /// Repeats of one run.
    pub repeats_max: u32,
    /// A run that waited longer than this share of it never counts.
    pub wait_share_max: f64,
}

impl Patience {
    /// What a measurement has.
    pub const FULL: Self = Self { repeats_max: 3, wait_share_max: 0.15 };
}

/// Measures until a run is clean, as often as `patience` allows.
pub fn attempt<T: Waited>(patience: Patience, mut measure: impl FnMut() -> Result<T>) -> Result<Attempted<T>> {
    let mut best = measure()?;
    let mut repeats = 0;
    while best.wait_share() > WAIT_SHARE_CLEAN && repeats < patience.repeats_max {
        let again = measure()?;
        repeats += 1;
        if again.wait_share() < best.wait_share() {
            best = again;
        }
    }
    let counts = best.wait_share() <= patience.wait_share_max;
    Ok(Attempted { best: counts.then_some(best), repeats })
}

/// The clock and the tally of a case.
#[derive(Debug)]
pub struct Rounds {
    case: &'static str,
    count: u32,
    /// A smoke takes every run as it comes.
    smoke: bool,
    start: Instant,
    repeating_max: Duration,
    repeated: u32,
    lost: u32,
}

impl Rounds {
    /// The rounds of a case: as many as were asked for, else `default`.
    pub fn new(case: &'static str, default: u32, common: &Common) -> Self {
        let count = common.rounds(default);
        Self {
            case,
            count,
            smoke: common.quick,
            start: Instant::now(),
            repeating_max: REPEATING_MAX,
            repeated: 0,
            lost: 0,
        }
    }

    /// The same with another time after which nothing is repeated and no further round starts.
    #[must_use]
    pub const fn repeating_for(mut self, repeating_max: Duration) -> Self {
        self.repeating_max = repeating_max;
        self
    }

    /// The rounds to run, from 1; ends early when there is no more time.
    pub fn next(&self, round: u32) -> bool {
        if round > self.count {
            return false;
        }
        let late = round > 1 && self.is_late();
        if late {
            eprintln!("{}: no time for round {round} and later ones", self.case);
        }
        !late
    }

    /// Whether nothing is repeated and no further round starts any more.
    pub fn is_late(&self) -> bool {
        self.start.elapsed() > self.repeating_max
    }

    /// One run, repeated if it was disturbed; says so, and shows `text` of its result.
    pub fn measure<T: Waited>(
        &mut self,
        round: u32,
        what: &str,
        measure: impl FnMut() -> Result<T>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<Option<T>> {
        let patience = match (self.smoke, self.is_late()) {
            (true, _) => Patience { repeats_max: 0, wait_share_max: f64::INFINITY },
            (false, true) => Patience { repeats_max: 0, ..Patience::FULL },
            (false, false) => Patience::FULL,
        };
        let attempted = attempt(patience, measure)?;
        let repeats = match attempted.repeats {
            0 => String::new(),
            count => format!(", repeated {count}× because it waited for a processor"),
        };
        let result = match &attempted.best {
            Some(best) => format!("{}, wait {:.1} %", text(best), best.wait_share() * 100.0),
            None => "lost: it waited too long for a processor".into(),
        };
        eprintln!("{} round {round}/{}: {what}: {result}{repeats}", self.case, self.count);
        self.repeated += u32::from(attempted.repeats > 0);
        self.lost += u32::from(attempted.best.is_none());
        Ok(attempted.best)
    }

    /// What to know about the rows that follow.
    pub fn summary(&self) -> String {
        let Self { count, repeated, lost, .. } = self;
        format!(
            "{count} interleaved rounds; {repeated} runs repeated and {lost} lost because they waited for a processor"
        )
    }

    /// Measures every entry once a round under saturation; every other round the other way round, so that a machine that
    /// gets slower or faster meanwhile favours nobody.
    pub fn saturate(&mut self, arena: &Arena, entries: &[Entry], timing: Timing) -> Result<Vec<Series>> {
        let run = |Entry { cell, contestant }: Entry| {
            let (child, mut load) = arena.connect(contestant, cell, None)?;
            saturate::run(&mut load, &child, timing).map_err(|error| named(contestant, error))
        };
        let mut series = vec![Series::default(); entries.len()];
        if let (Some(&first), false) = (entries.first(), self.smoke) {
            // Cores that were idle are slow at first; that is nobody's figure.
            for _ in 0..WARM_UP_RUNS {
                run(first)?;
            }
        }
        let mut round = 1;
        while self.next(round) {
            for place in order_of(round, entries.len()) {
                let entry = entries[place];
                let what = format!("{} {}", entry.cell.name(), entry.contestant.name());
                let figure = self.measure(
                    round,
                    &what,
                    || run(entry),
                    |figure| {
                        let (rate, cpu) = (Some(figure.messages_per_s), Some(figure.cpu_ns_per_message));
                        format!("{} messages/s, {} ns of processor each", report::figure(rate), report::figure(cpu))
                    },
                )?;
                series[place].0.push(figure);
            }
            round += 1;
        }
        Ok(series)
    }
}

/// The places of `count` entries in the order in which a round, counted from 1, measures them.
fn order_of(round: u32, count: usize) -> Vec<usize> {
    if round % 2 == 1 { (0..count).collect() } else { (0..count).rev().collect() }
}

/// One contestant on one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What is moved.
    pub cell: Cell,
    /// Who moves it.
    pub contestant: Contestant,
}

/// The figures of one entry, round by round; `None` where a round was lost.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series(Vec<Option<Figure>>);

impl Series {
    /// One value of each round.
    pub fn values(&self, of: fn(&Figure) -> f64) -> Vec<Option<f64>> {
        self.0.iter().map(|figure| figure.as_ref().map(of)).collect()
    }

    /// The median of one value.
    pub fn median(&self, of: fn(&Figure) -> f64) -> Option<f64> {
        Spread::of(self.0.iter().flatten().map(of)).map(|spread| spread.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn figure(wait_share: f64) -> Figure {
        Figure { messages_per_s: 1.0, cpu_ns_per_message: 1.0, wait_share }
    }

    fn attempt_all(waits: &[f64]) -> Attempted<Figure> {
        let mut waits = waits.iter();
        attempt(Patience::FULL, || Ok(figure(*waits.next().expect("no more attempts than planned")))).expect("measured")
    }

    #[test]
    fn a_clean_run_is_not_repeated() {
        assert_eq!(attempt_all(&[0.08]), Attempted { best: Some(figure(0.08)), repeats: 0 });
    }

    #[test]
    fn a_disturbed_run_is_repeated_until_it_is_clean_and_at_most_three_times() {
        assert_eq!(attempt_all(&[0.5, 0.2, 0.01]), Attempted { best: Some(figure(0.01)), repeats: 2 });
        assert_eq!(attempt_all(&[0.3, 0.12, 0.2, 0.14]), Attempted { best: Some(figure(0.12)), repeats: 3 });
    }

    #[test]
    fn a_run_that_always_waited_too_long_never_counts() {
        assert_eq!(attempt_all(&[0.5, 0.4, 0.3, 0.2]), Attempted { best: None, repeats: 3 });
    }

    #[test]
    fn a_smoke_takes_every_run_as_it_comes() {
        let mut rounds = Rounds::new("floor", 5, &Common { quick: true, ..Common::default() });
        let measured = rounds.measure(1, "x", || Ok(figure(0.9)), |_| String::new()).expect("measured");
        assert_eq!((measured, rounds.repeated, rounds.lost), (Some(figure(0.9)), 0, 0));
        assert!(rounds.next(1) && !rounds.next(2), "one round");
    }

    #[test]
    fn every_other_round_goes_the_other_way() {
        assert_eq!([1, 2, 3].map(|round| order_of(round, 3)), [vec![0, 1, 2], vec![2, 1, 0], vec![0, 1, 2]]);
    }

    #[test]
    fn a_wrong_delivery_is_not_repeated_but_ends_the_case() {
        let mut calls = 0;
        let result: Result<Attempted<Figure>> = attempt(Patience::FULL, || {
            calls += 1;
            Err(Error::Failed("wrong delivery".into()))
        });
        assert!(result.is_err());
        assert_eq!(calls, 1);
    }
}
