//! An axis: the range of its values, where a value stands between its ends, and which round values are
//! written at it. plotters asks it through [`Ranged`].

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::limits::VERTICAL_TICKS_MAX;

/// A range of finite values and the round ones among them. Values beyond an end stand at that end.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    from: f64,
    to: f64,
    spacing: Spacing,
    text: fn(f64) -> String,
}

/// The top of an axis that begins at zero is at least this much above the highest value.
const HEADROOM: f64 = 1.02;

/// Which values are written at an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spacing {
    /// Multiples of 1, 2 or 5 times a power of ten.
    Round,
    /// Whole seconds, minutes and hours; the values are milliseconds.
    Clock,
    /// Whole numbers.
    Whole,
    /// Powers of ten, at equal distances.
    Logarithmic,
}

impl Axis {
    /// From zero to the next round value above `highest`, so that no line lies on the frame. What is not a
    /// positive number counts as 1. `text` writes a value.
    pub fn from_zero(highest: f64, text: fn(f64) -> String) -> Axis {
        let highest = if highest.is_finite() && highest > 0.0 {
            highest
        } else {
            1.0
        };
        let step = round_step(highest, VERTICAL_TICKS_MAX);
        Axis {
            from: 0.0,
            to: (highest * HEADROOM / step).ceil() * step,
            spacing: Spacing::Round,
            text,
        }
    }

    /// From zero to exactly `duration_ms` milliseconds.
    pub fn clock(duration_ms: f64, text: fn(f64) -> String) -> Axis {
        Axis {
            from: 0.0,
            to: duration_ms.max(1.0),
            spacing: Spacing::Clock,
            text,
        }
    }

    /// From zero to exactly `to`, with whole numbers written.
    pub fn whole(to: f64, text: fn(f64) -> String) -> Axis {
        Axis {
            from: 0.0,
            to: to.max(1.0),
            spacing: Spacing::Whole,
            text,
        }
    }

    /// The powers of ten around `lowest` and `highest`. What is below 1 counts as 1.
    pub fn logarithmic(lowest: f64, highest: f64, text: fn(f64) -> String) -> Axis {
        let from = 10_f64.powf(lowest.max(1.0).log10().floor());
        let to = 10_f64
            .powf(highest.max(1.0).log10().ceil())
            .max(from * 10.0);
        Axis {
            from,
            to,
            spacing: Spacing::Logarithmic,
            text,
        }
    }

    /// Its lowest and highest value.
    pub fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// How `value` is written.
    pub fn text(&self, value: f64) -> String {
        (self.text)(value)
    }

    /// Where `value` stands, from 0 to 1. What is not a finite number stands at 0.
    pub fn share(&self, value: f64) -> f64 {
        let value = if value.is_finite() {
            value.clamp(self.from, self.to)
        } else {
            self.from
        };
        match self.spacing {
            Spacing::Logarithmic => (value / self.from).log10() / (self.to / self.from).log10(),
            _ => (value - self.from) / (self.to - self.from),
        }
    }

    /// Round values within the range, in rising order: about `ticks_max`, or fewer.
    fn ticks(&self, ticks_max: usize) -> Vec<f64> {
        match self.spacing {
            Spacing::Logarithmic => {
                let powers = (self.to / self.from).log10().round() as i32;
                let every = (powers as usize / ticks_max.max(1) + 1).min(powers.max(1) as usize);
                let power = |power| self.from * 10_f64.powi(power);
                (0..=powers).step_by(every).map(power).collect()
            }
            Spacing::Round => self.multiples(round_step(self.to - self.from, ticks_max)),
            Spacing::Whole => self.multiples(round_step(self.to - self.from, ticks_max).max(1.0)),
            Spacing::Clock => {
                let step_s = clock_step_s((self.to / 1000.0) as u64, ticks_max as u64);
                self.multiples(step_s as f64 * 1000.0)
            }
        }
    }

    fn multiples(&self, step: f64) -> Vec<f64> {
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|nth| nth as f64 * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that at most `ticks_max` fit into the span.
fn round_step(span: f64, ticks_max: usize) -> f64 {
    let rough = span / ticks_max.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= rough * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// Seconds between two round times, so that at most `ticks_max` of them fit into the duration.
fn clock_step_s(duration_s: u64, ticks_max: u64) -> u64 {
    const STEPS_S: [u64; 16] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400,
    ];
    let fits = |step: &u64| duration_s / step <= ticks_max;
    let longer = duration_s / ticks_max.max(1) + 1;
    STEPS_S.into_iter().find(fits).unwrap_or(longer)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = (f64::from(limit.0), f64::from(limit.1));
        (from + self.share(*value) * (to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Lines between those that have a label: we want none.
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks(hint.max_num_points()),
        }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.text(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        format!("{value}")
    }

    #[test]
    fn ticks_are_round_and_reach_over_the_highest_value() {
        let axis = Axis::from_zero(873.0, plain);
        assert_eq!(axis.ticks(5), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        assert_eq!(axis.share(500.0), 0.5);
        assert!(
            Axis::from_zero(1000.0, plain).share(1000.0) < 0.9,
            "not on the frame"
        );
        assert_eq!(Axis::from_zero(0.0, plain).share(0.0), 0.0);
    }

    #[test]
    fn a_logarithmic_axis_goes_by_powers_of_ten() {
        let axis = Axis::logarithmic(30.0, 40_000.0, plain);
        assert_eq!(axis.ticks(9), [10.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
        assert_eq!(axis.ticks(3), [10.0, 1000.0, 100_000.0], "fewer on a phone");
        assert!((axis.share(1000.0) - 0.5).abs() < 1e-9);
        let flat = Axis::logarithmic(0.0, 0.0, plain);
        assert_eq!(flat.share(0.0), 0.0);
    }

    #[test]
    fn values_out_of_range_or_not_numbers_stay_on_the_drawing() {
        let axis = Axis::clock(10.0, plain);
        assert_eq!(axis.share(f64::NAN), 0.0);
        assert_eq!(axis.share(f64::INFINITY), 0.0);
        assert_eq!(axis.share(11.0), 1.0);
        assert_eq!(Axis::clock(0.0, plain).share(0.0), 0.0);
    }

    #[test]
    fn clocks_have_few_round_ticks_at_any_length() {
        let minute = Axis::clock(60_000.0, plain).ticks(6);
        assert_eq!(minute.len(), 7);
        assert_eq!(minute[1], 10_000.0);
        for duration_ms in [0, 999, 61_000, 3_600_000, 864_000_000, u64::MAX] {
            let ticks = Axis::clock(duration_ms as f64, plain).ticks(6);
            assert!((1..=7).contains(&ticks.len()), "{duration_ms}: {ticks:?}");
        }
    }

    #[test]
    fn a_phone_gets_fewer_whole_numbers() {
        let nines = Axis::whole(5.3, plain);
        assert_eq!(nines.ticks(8), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(nines.ticks(3), [0.0, 2.0, 4.0]);
    }

    #[test]
    fn values_stand_from_the_first_end_to_the_second() {
        let axis = Axis::from_zero(900.0, plain);
        assert_eq!(axis.map(&0.0, (290, 10)), 290);
        assert_eq!(axis.map(&1000.0, (290, 10)), 10);
        assert_eq!(axis.map(&500.0, (290, 10)), 150);
    }
}
