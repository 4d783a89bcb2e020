//! A measured figure beside its target, as a table row and as JSON.

use anyhow::Result;
use serde::Serialize;

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    /// The ratio to the reference, at least.
    RatioAtLeast(f64),
    /// The ratio to the reference, at most.
    RatioAtMost(f64),
    /// The figure itself, at least.
    AtLeast(f64),
    /// The figure itself, at most.
    AtMost(f64),
    /// The figure itself, from the first to the second.
    Within(f64, f64),
}

/// A ratio in several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) case: String,
    /// The median of all rounds.
    pub(super) figure: f64,
    pub(super) unit: &'static str,
    /// The median of what the figure is compared with: the faster arrangement of bare hyper
    /// under the same load, or the raw loop with the same rows.
    pub(super) reference: Option<f64>,
    pub(super) ratio: Option<Ratio>,
    pub(super) target: Option<Target>,
    /// Why there is no figure, or what belongs beside it.
    pub(super) detail: String,
    /// Whether nothing went wrong beside the figure.
    pub(super) sound: bool,
}

impl Row {
    pub(super) const HEADER: &'static str = "| case | figure | reference | ratio (min–max) | \
        target | met | beside it |\n| --- | --- | --- | --- | --- | --- | --- |";

    pub(super) fn new(case: &str, figure: f64, unit: &'static str, target: Target) -> Self {
        Self {
            case: case.to_owned(),
            figure,
            unit,
            reference: None,
            ratio: None,
            target: Some(target),
            detail: String::new(),
            sound: true,
        }
    }

    pub(super) fn failed(case: &str, error: &anyhow::Error) -> Self {
        let mut row = Self::new(case, 0.0, "", Target::AtLeast(0.0));
        row.target = None;
        row.sound = false;
        row.detail = format!("{error:#}").replace('\n', " ");
        row
    }

    /// Says what belongs beside the figure.
    pub(super) fn beside(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    /// Notes a fault beside the figure, if there is one.
    pub(super) fn unless(mut self, sound: bool, fault: &str) -> Self {
        if !sound {
            self.sound = false;
            self.detail = format!("{fault}; {}", self.detail);
        }
        self
    }

    /// Compares the figures of all rounds with those of the reference.
    pub(super) fn compared(mut self, figures: &[f64], reference: &[f64]) -> Self {
        let mut ratios: Vec<f64> = figures
            .iter()
            .zip(reference)
            .map(|(figure, reference)| figure / reference.max(f64::EPSILON))
            .collect();
        let median = median(&mut ratios);
        let (min, max) = (ratios.first().copied(), ratios.last().copied());
        self.ratio =
            Some(Ratio { median, min: min.unwrap_or_default(), max: max.unwrap_or_default() });
        self.reference = Some(self::median(&mut reference.to_vec()));
        self
    }

    /// Whether the target was met; in a smoke run, whether there is a figure at all.
    pub(super) fn is_met(&self, smoke: bool) -> bool {
        let met = match self.target {
            _ if smoke => self.figure > 0.0,
            Some(Target::RatioAtLeast(least)) => self.ratio.is_some_and(|r| r.median >= least),
            Some(Target::RatioAtMost(most)) => self.ratio.is_some_and(|r| r.median <= most),
            Some(Target::AtLeast(least)) => self.figure >= least,
            Some(Target::AtMost(most)) => self.figure <= most,
            Some(Target::Within(least, most)) => (least..=most).contains(&self.figure),
            None => true,
        };
        met && self.sound
    }

    /// A smoke run judges nothing but whether there is a figure.
    pub(super) fn to_table(&self, smoke: bool) -> String {
        let reference = self.reference.map(grouped).unwrap_or_default();
        let ratio =
            self.ratio.map(|Ratio { median, min, max }| format!("{median:.2} ({min:.2}–{max:.2})"));
        let target = self.target.map(|target| match target {
            Target::RatioAtLeast(ratio) => format!("≥ {ratio:.2} ×"),
            Target::RatioAtMost(ratio) => format!("≤ {ratio:.2} ×"),
            Target::AtLeast(least) => format!("≥ {}", grouped(least)),
            Target::AtMost(most) => format!("≤ {}", grouped(most)),
            Target::Within(least, most) => format!("{}–{}", grouped(least), grouped(most)),
        });
        format!(
            "| {} | {} {} | {reference} | {} | {} | {} | {} |",
            self.case,
            grouped(self.figure),
            self.unit,
            ratio.unwrap_or_default(),
            target.unwrap_or_default(),
            match self.is_met(smoke) {
                false => "SHORT",
                true if smoke => "not judged",
                true => "ok",
            },
            self.detail,
        )
    }

    pub(super) fn to_json(&self) -> Result<String> {
        let mut value = serde_json::to_value(self)?;
        value["met"] = self.is_met(false).into();
        Ok(value.to_string())
    }
}

/// The middle one; sorts them.
pub(super) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => 0.0,
        length if length % 2 == 1 => figures[length / 2],
        length => (figures[length / 2 - 1] + figures[length / 2]) / 2.0,
    }
}

/// A number as a person reads it: thousands apart, fractions where they matter.
pub(super) fn grouped(figure: f64) -> String {
    if figure.abs() < 100.0 {
        return format!("{figure:.2}");
    }
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ratio_decides_and_a_fault_overrules_it() {
        let row = Row::new("x", 90.0, "requests/s", Target::RatioAtLeast(0.8))
            .compared(&[70.0, 90.0, 95.0], &[100.0, 100.0, 100.0]);
        let ratio = row.ratio.expect("compared");
        assert_eq!((ratio.median, ratio.min, ratio.max), (0.9, 0.7, 0.95));
        assert!(row.is_met(false));
        assert!(!row.clone().unless(false, "5 errors").is_met(false));
        for (target, met) in [
            (Target::RatioAtLeast(0.91), false),
            (Target::RatioAtMost(0.91), true),
            (Target::RatioAtMost(0.89), false),
        ] {
            assert_eq!(
                Row { target: Some(target), ..row.clone() }.is_met(false),
                met,
                "{target:?}"
            );
        }
    }

    #[test]
    fn each_target_has_two_sides() {
        for (target, met, short) in [
            (Target::AtLeast(5.0), 5.0, 4.9),
            (Target::AtMost(5.0), 5.0, 5.1),
            (Target::Within(4.0, 6.0), 4.0, 6.1),
        ] {
            assert!(Row::new("x", met, "s", target).is_met(false));
            let row = Row::new("x", short, "s", target);
            assert!(!row.is_met(false) && row.is_met(true), "{target:?}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (figure, text) in [(0.5, "0.50"), (999.6, "1,000"), (1_234_567.0, "1,234,567")] {
            assert_eq!(grouped(figure), text);
        }
    }
}
