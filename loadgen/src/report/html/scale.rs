//! Axes: where a value stands along one, and which round values are written at it. Pure.

/// A range of values over a range of the drawing.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    at_from: f64,
    at_to: f64,
    is_logarithmic: bool,
}

impl Scale {
    /// From zero to at least `highest`, up to the next round tick.
    pub fn from_zero(highest: f64, at_zero: f64, at_highest: f64, ticks_max: usize) -> Scale {
        let highest = if highest.is_finite() && highest > 0.0 {
            highest
        } else {
            1.0
        };
        let step = round_step(highest, ticks_max);
        let to = (highest / step).ceil() * step;
        Scale {
            from: 0.0,
            to,
            at_from: at_zero,
            at_to: at_highest,
            is_logarithmic: false,
        }
    }

    /// Exactly these ends.
    pub fn between(from: f64, to: f64, at_from: f64, at_to: f64) -> Scale {
        let to = if to > from { to } else { from + 1.0 };
        Scale {
            from,
            to,
            at_from,
            at_to,
            is_logarithmic: false,
        }
    }

    /// Powers of ten around both, which must be positive.
    pub fn logarithmic(lowest: f64, highest: f64, at_lowest: f64, at_highest: f64) -> Scale {
        let from = 10_f64.powf(lowest.max(1.0).log10().floor());
        let to = 10_f64
            .powf(highest.max(1.0).log10().ceil())
            .max(from * 10.0);
        Scale {
            from,
            to,
            at_from: at_lowest,
            at_to: at_highest,
            is_logarithmic: true,
        }
    }

    /// Values beyond the ends stand at them.
    pub fn place(&self, value: f64) -> f64 {
        let value = if value.is_finite() {
            value.clamp(self.from, self.to)
        } else {
            self.from
        };
        let share = if self.is_logarithmic {
            (value / self.from).log10() / (self.to / self.from).log10()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.at_from + share * (self.at_to - self.at_from)
    }

    /// Round values within the range, in rising order.
    pub fn ticks(&self, ticks_max: usize) -> Vec<f64> {
        if self.is_logarithmic {
            let powers = (self.to / self.from).log10().round() as i32;
            return (0..=powers)
                .map(|power| self.from * 10_f64.powi(power))
                .collect();
        }
        let step = round_step(self.to - self.from, ticks_max);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|nth| nth as f64 * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that at most so many fit into the span.
fn round_step(span: f64, ticks_max: usize) -> f64 {
    let rough = span / ticks_max.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= rough * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// Round times for a clock: whole seconds, minutes and hours.
pub fn time_ticks_ms(duration_ms: u64, ticks_max: u64) -> Vec<u64> {
    const STEPS_S: [u64; 16] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400,
    ];
    let duration_s = duration_ms / 1000;
    let fits = |step: &&u64| duration_s / **step <= ticks_max;
    let step = STEPS_S
        .iter()
        .find(fits)
        .copied()
        .unwrap_or_else(|| duration_s / ticks_max.max(1) + 1);
    (0..=duration_s / step)
        .map(|nth| nth * step * 1000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_over_the_highest_value() {
        let scale = Scale::from_zero(873.0, 0.0, 100.0, 5);
        assert_eq!(scale.ticks(5), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        assert_eq!(scale.place(500.0), 50.0);
        assert_eq!(Scale::from_zero(0.0, 0.0, 1.0, 4).place(0.0), 0.0);
    }

    #[test]
    fn a_logarithmic_axis_goes_by_powers_of_ten() {
        let scale = Scale::logarithmic(30.0, 40_000.0, 0.0, 4.0);
        assert_eq!(scale.ticks(9), [10.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
        assert!((scale.place(1000.0) - 2.0).abs() < 1e-9);
        let flat = Scale::logarithmic(0.0, 0.0, 0.0, 1.0);
        assert_eq!(flat.place(0.0), 0.0);
    }

    #[test]
    fn what_is_no_number_or_out_of_range_stays_on_the_drawing() {
        let scale = Scale::between(0.0, 10.0, 0.0, 100.0);
        assert_eq!(scale.place(f64::NAN), 0.0);
        assert_eq!(scale.place(f64::INFINITY), 0.0);
        assert_eq!(scale.place(11.0), 100.0);
        assert_eq!(Scale::between(3.0, 3.0, 0.0, 1.0).place(3.0), 0.0);
    }

    #[test]
    fn clocks_have_few_round_ticks_at_any_length() {
        assert_eq!(
            time_ticks_ms(60_000, 6),
            [0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]
        );
        for duration_ms in [0, 999, 61_000, 3_600_000, 864_000_000, u64::MAX] {
            let ticks = time_ticks_ms(duration_ms, 6);
            assert!((1..=7).contains(&ticks.len()), "{duration_ms}: {ticks:?}");
        }
    }
}
