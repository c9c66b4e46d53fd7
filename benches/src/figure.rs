//! What was measured, beside its limit and its target.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value as Json, json};

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// How often a second.
    PerSecond,
    /// Megabytes, of 10^6 bytes.
    Megabytes,
    /// Kilobytes, of 10^3 bytes.
    Kilobytes,
    /// Bytes.
    Bytes,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::PerSecond => "1/s",
            Self::Megabytes => "MB",
            Self::Kilobytes => "kB",
            Self::Bytes => "B",
        }
    }
}

/// Measurements of one thing in one unit.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One measurement.
    pub(crate) fn one(value: f64) -> Self {
        Self(vec![value])
    }

    /// Adds a measurement.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a time in microseconds.
    pub(crate) fn push_micros(&mut self, time: Duration) {
        self.push(time.as_secs_f64() * 1e6);
    }

    /// Adds all measurements of another series.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Number of measurements.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that this share of the measurements does not exceed; NaN without measurements.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// What the machine allows for the same thing, measured in the same run.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Limit {
    /// What was measured.
    pub(crate) name: &'static str,
    /// Its measurements, in the figure's unit.
    pub(crate) samples: Samples,
}

/// What the median has to reach.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Target {
    /// At most this.
    AtMost(f64),
    /// At most the limit's median and this much more.
    AtMostAboveLimit(f64),
    /// At most this many times the limit's median.
    AtMostTimesLimit(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this many times the limit's median.
    TimesLimit(f64),
    /// At least this share of the limit's median.
    ShareOfLimit(f64),
}

/// One thing that was measured.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// Which benchmark it belongs to.
    pub(crate) bench: &'static str,
    /// What it is.
    pub(crate) name: String,
    /// Its unit.
    pub(crate) unit: Unit,
    /// Its measurements.
    pub(crate) samples: Samples,
    /// Its limit, if one was measured.
    pub(crate) limit: Option<Limit>,
    /// Its target, if there is one.
    pub(crate) target: Option<Target>,
}

impl Figure {
    /// A figure without limit and target.
    pub(crate) fn new(
        bench: &'static str,
        name: impl Into<String>,
        unit: Unit,
        samples: Samples,
    ) -> Self {
        Self { bench, name: name.into(), unit, samples, limit: None, target: None }
    }

    /// With a limit.
    pub(crate) fn beside(mut self, name: &'static str, samples: Samples) -> Self {
        self.limit = Some(Limit { name, samples });
        self
    }

    /// With a target.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|limit| self.samples.p50() / limit.samples.p50())
    }

    /// By how much the target is missed: 1 or less is met, 2 is off by a factor of two.
    pub(crate) fn missed_by(&self) -> Option<f64> {
        let value = self.samples.p50();
        let limit = self.limit.as_ref().map_or(f64::NAN, |limit| limit.samples.p50());
        self.target.map(|target| match target {
            Target::AtMost(bound) => value / bound,
            Target::AtMostAboveLimit(margin) => value / (limit + margin),
            Target::AtMostTimesLimit(times) => value / (limit * times),
            Target::AtLeast(bound) => bound / value,
            Target::TimesLimit(times) => value / (limit * times),
            Target::ShareOfLimit(share) => limit * share / value,
        })
    }

    /// Whether there is a target and the median does not reach it. A figure that could not be computed
    /// does not reach it.
    pub(crate) fn is_missed(&self) -> bool {
        self.missed_by().is_some_and(|factor| factor.is_nan() || factor > 1.0)
    }

    fn target_text(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtMost(bound)) => format!("≤ {}", number(bound)),
            Some(Target::AtMostAboveLimit(margin)) => format!("≤ limit + {}", number(margin)),
            Some(Target::AtMostTimesLimit(times)) => format!("≤ {times} × limit"),
            Some(Target::AtLeast(bound)) => format!("≥ {}", number(bound)),
            Some(Target::TimesLimit(times)) => format!("≤ {times} × limit"),
            Some(Target::ShareOfLimit(share)) => format!("≥ {share} × limit"),
        }
    }

    fn verdict(&self) -> String {
        match self.missed_by() {
            None => String::new(),
            Some(_) if !self.is_missed() => "ok".to_owned(),
            Some(factor) => format!("MISSED ×{factor:.2}"),
        }
    }

    fn to_json(&self) -> Json {
        let spread = |samples: &Samples| {
            json!({
                "p50": samples.p50(),
                "p99": samples.quantile(0.99),
                "samples": samples.len(),
            })
        };
        let mut object = spread(&self.samples);
        object["bench"] = json!(self.bench);
        object["name"] = json!(self.name);
        object["unit"] = json!(self.unit.name());
        if let Some(limit) = &self.limit {
            object["limit"] = spread(&limit.samples);
            object["limit"]["name"] = json!(limit.name);
            object["ratio"] = json!(self.ratio());
        }
        if let Some(factor) = self.missed_by() {
            object["target"] = json!(self.target_text());
            object["met"] = json!(!self.is_missed());
            object["missed_by"] = json!(factor);
        }
        object
    }
}

/// All figures as one object.
pub(crate) fn to_json(figures: &[Figure]) -> Json {
    let missed = figures.iter().filter(|figure| figure.is_missed()).count();
    let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
    json!({ "missed": missed, "figures": figures })
}

/// All figures as a table for people.
pub(crate) fn to_table(figures: &[Figure]) -> String {
    let head = ["", "unit", "p50", "p99", "limit p50", "limit p99", "ratio", "target", ""];
    let mut rows = vec![head.map(str::to_owned)];
    for figure in figures {
        let many = |samples: &Samples| {
            if samples.len() > 1 { number(samples.quantile(0.99)) } else { String::new() }
        };
        let limit = figure.limit.as_ref().map(|limit| &limit.samples);
        rows.push([
            figure.name.clone(),
            figure.unit.name().to_owned(),
            number(figure.samples.p50()),
            many(&figure.samples),
            limit.map(|samples| number(samples.p50())).unwrap_or_default(),
            limit.map(many).unwrap_or_default(),
            figure.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            figure.target_text(),
            figure.verdict(),
        ]);
    }
    let mut text = aligned(&rows);
    for figure in figures {
        if let Some(limit) = &figure.limit {
            _ = writeln!(text, "limit of {}: {}", figure.name, limit.name);
        }
    }
    text
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_number = (2..7).contains(&column);
            let gap = " ".repeat(width - cell.chars().count());
            let padded = if is_number { gap + cell } else { format!("{cell}{gap}") };
            line.push_str(&padded);
            line.push_str("  ");
        }
        _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Three or so significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn quantiles_are_measured_values() {
        let hundred = Samples((1..=100).rev().map(f64::from).collect());
        assert_eq!(hundred.p50(), 50.0);
        assert_eq!(hundred.quantile(0.99), 99.0);
        assert_eq!(hundred.quantile(1.0), 100.0);
        assert_eq!(samples(&[7.0]).quantile(0.99), 7.0);
        assert!(Samples::default().p50().is_nan());
    }

    #[test]
    fn targets_are_judged_by_the_median() {
        let figure = |value| {
            Figure::new("b", "n", Unit::Micros, samples(&[value, value, 9e9]))
                .beside("floor", samples(&[100.0]))
        };
        assert!(!figure(130.0).target(Target::AtMostAboveLimit(30.0)).is_missed());
        assert!(figure(130.1).target(Target::AtMostAboveLimit(30.0)).is_missed());
        assert!(!figure(50.0).target(Target::ShareOfLimit(0.5)).is_missed());
        let half = figure(25.0).target(Target::ShareOfLimit(0.5));
        assert_eq!(half.missed_by(), Some(2.0));
        assert!(half.is_missed());
        assert!(!figure(130.0).target(Target::TimesLimit(1.3)).is_missed());
        assert!(figure(131.0).target(Target::TimesLimit(1.3)).is_missed());
        assert!(!figure(5.0).target(Target::AtMost(5.0)).is_missed());
        assert!(!figure(1e9).is_missed());
    }

    #[test]
    fn a_figure_without_measurements_misses_its_target() {
        let empty = Figure::new("b", "n", Unit::Micros, Samples::default());
        assert!(empty.target(Target::AtMost(5.0)).is_missed());
    }

    #[test]
    fn the_table_and_the_object_say_the_same() {
        let figures = [
            Figure::new("b", "fast", Unit::Micros, samples(&[130.0, 140.0]))
                .beside("floor", samples(&[100.0]))
                .target(Target::AtMostAboveLimit(30.0)),
            Figure::new("b", "fat", Unit::Kilobytes, samples(&[32.0])).target(Target::AtMost(16.0)),
        ];
        let table = to_table(&figures);
        assert!(table.contains("fast"), "{table}");
        assert!(table.contains("≤ limit + 30.0"), "{table}");
        assert!(table.contains("MISSED ×2.00"), "{table}");
        assert!(table.contains("limit of fast: floor"), "{table}");
        let object = to_json(&figures);
        assert_eq!(object["missed"], 1);
        assert_eq!(object["figures"][0]["met"], true);
        assert_eq!(object["figures"][0]["ratio"], 1.3);
        assert_eq!(object["figures"][1]["missed_by"], 2.0);
    }
}
