//! What was counted before, as a file for people and programs: a compiler, and a figure a line.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Figures of one compiler: another one makes other instructions.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Baseline {
    pub(super) compiler: String,
    pub(super) instructions: Vec<(String, f64)>,
}

impl Baseline {
    /// Reads the file; an absent one is an empty baseline.
    pub(super) fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).ok_or_else(|| Error::Failed(format!("{} is damaged", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io(format!("reading {}", path.display()))(error)),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.text()).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// What was counted for the work of this name.
    pub(super) fn of(&self, name: &str) -> Option<f64> {
        self.instructions.iter().find(|(known, _)| known == name).map(|&(_, figure)| figure)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# Instructions by callgrind; written by 'laneway-bench count --refresh'.\ncompiler {}\n",
            self.compiler
        );
        for (name, figure) in &self.instructions {
            let _ = writeln!(text, "{name} {figure:.2}");
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once(' ')?;
            match name {
                "compiler" => baseline.compiler = value.into(),
                name => baseline.instructions.push((name.into(), value.parse().ok()?)),
            }
        }
        Some(baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let instructions = vec![("route".to_owned(), 12.25), ("codec-run".to_owned(), 3.0)];
        let baseline = Baseline { compiler: "rustc 1.88.0 (x)".into(), instructions };
        assert_eq!(Baseline::parse(&baseline.text()), Some(baseline.clone()));
        assert_eq!((baseline.of("route"), baseline.of("absent")), (Some(12.25), None));
        assert_eq!(Baseline::parse("route fast\n"), None);
    }
}
