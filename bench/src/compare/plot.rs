//! Bars as SVG, on a logarithmic scale: what is compared differs by powers of ten.

use std::fmt::Write as _;

/// One bar.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// Drawn to stand out.
    pub(super) ours: bool,
}

/// Bars that belong together.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Group {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const LABELS: f64 = 170.0;
const FIGURES: f64 = 80.0;
const BAR: f64 = 16.0;
const HEAD: f64 = 28.0;

/// A picture of the groups under each other; `figure` writes a value.
pub(super) fn bars(title: &str, groups: &[Group], figure: impl Fn(f64) -> String) -> String {
    let values = || groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).filter(|value| *value > 0.0);
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).log10().ceil().max(low + 1.0);
    let lines: f64 = groups.iter().map(|group| HEAD + group.bars.len() as f64 * BAR).sum();
    let height = HEAD * 1.5 + lines;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"15\" fill=\"#222222\">{}</text>\n",
        escaped(title)
    );
    let mut y = HEAD * 1.2;
    for group in groups {
        y += HEAD;
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\" fill=\"#222222\">{}</text>",
            y - 8.0,
            escaped(&group.title)
        );
        for bar in &group.bars {
            let share = if bar.value > 0.0 { (bar.value.log10() - low) / (high - low) } else { 0.0 };
            let length = share.max(0.004) * (WIDTH - LABELS - FIGURES);
            let colour = if bar.ours { "#d9622b" } else { "#7d93a8" };
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#444444\">{}</text>\
                 <rect x=\"{LABELS}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"{:.0}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#222222\">{}</text>",
                LABELS - 6.0,
                y + BAR - 4.0,
                escaped(&bar.label),
                y + 1.0,
                BAR - 3.0,
                LABELS + length + 5.0,
                y + BAR - 4.0,
                escaped(&figure(bar.value)),
            );
            y += BAR;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_times_as_much_is_two_steps_longer_and_names_are_escaped() {
        let bar = |label: &str, value| Bar { label: label.into(), value, ours: false };
        let groups = [Group { title: "a < b".into(), bars: vec![bar("small", 10.0), bar("large", 1_000.0)] }];
        let svg = bars("x & y", &groups, |value| format!("{value}"));
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y"));
        let widths: Vec<f64> = svg
            .split("<rect x=")
            .skip(1)
            .filter_map(|rest| rest.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths, [2.0, 510.0], "one stands at the foot of the scale, one at its end");
    }
}
