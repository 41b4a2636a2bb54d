//! One of the broker's counters.

use std::fmt;

use laneway_proto::control::Sample;

/// What a counter says.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum StatValue {
    /// A number.
    Number(f64),
    /// Words.
    Text(String),
}

/// One of the broker's counters; from [`Client::stats`](crate::Client::stats).
#[derive(Clone, PartialEq, Debug)]
pub struct Stat {
    /// Whose and what: `shard.0.lane.command.messages_in`. README lists the beginnings.
    pub name: String,
    /// What it says.
    pub value: StatValue,
}

impl Stat {
    /// As it travels.
    pub(crate) fn new(sample: Sample) -> Self {
        let Sample { name, value, text } = sample;
        Self { name, value: if text.is_empty() { StatValue::Number(value) } else { StatValue::Text(text) } }
    }

    /// The number, if it is one.
    pub const fn number(&self) -> Option<f64> {
        match self.value {
            StatValue::Number(number) => Some(number),
            StatValue::Text(_) => None,
        }
    }
}

impl fmt::Display for StatValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}
