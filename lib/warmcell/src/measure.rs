//! Measuring code: what `%timeit` runs. The loop is compiled with the library, which is optimised, so
//! that a cell without optimisation pays one call a run and nothing else for being measured.

use std::{
    error::Error,
    fmt,
    time::{Duration, Instant},
};

use ::display::{RichDisplay, Table, units::duration};
use serde::Serialize;
use wire::mime::Bundle;

/// As `IPython`: seven samples.
const SAMPLES: u32 = 7;
/// A sample takes at least this long, unless one run does.
const SAMPLE: Duration = Duration::from_millis(100);

/// Measures code, and gives [`Timings`] of a single run. A `?` in it ends the measurement with that
/// error.
///
/// ```
/// # use warmcell::timeit;
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// let timings = timeit!("12".parse::<u32>()?);
/// assert!(timings.min <= timings.median && timings.median <= timings.max);
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! timeit {
    ($($code:tt)*) => {
        $crate::cell::timeit(&mut || {
            ::std::hint::black_box({ $($code)* });
            ::std::result::Result::Ok(())
        })?
    };
}

/// How long one run of measured code takes, over [`Timings::samples`] samples of [`Timings::runs`]
/// runs each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Timings {
    /// The mean of the samples.
    pub mean: Duration,
    /// Their standard deviation, with `n − 1`.
    pub deviation: Duration,
    /// The middle sample.
    pub median: Duration,
    /// The fastest sample: the one that the rest of the machine disturbed least.
    pub min: Duration,
    /// The slowest.
    pub max: Duration,
    /// Number of samples.
    pub samples: u32,
    /// Runs in each sample; a sample's value is their mean.
    pub runs: u32,
}

type Run<'a> = dyn FnMut() -> Result<(), Box<dyn Error + Send + Sync>> + 'a;

/// Measures `run`; what the macro calls.
pub fn timeit(run: &mut Run<'_>) -> Result<Timings, Box<dyn Error + Send + Sync>> {
    // Runs are doubled until they fill a sample; that warms caches too.
    let mut runs = 1;
    while sample(run, runs)? < SAMPLE && runs < u32::MAX / 2 {
        runs *= 2;
    }
    let mut means = Vec::with_capacity(SAMPLES as usize);
    for _ in 0..SAMPLES {
        means.push(sample(run, runs)?.as_secs_f64() / f64::from(runs));
    }
    Ok(Timings::of(means, runs))
}

fn sample(run: &mut Run<'_>, runs: u32) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let started = Instant::now();
    for _ in 0..runs {
        run()?;
    }
    Ok(started.elapsed())
}

impl Timings {
    /// `means` are the seconds of a run in each sample; there is at least one.
    fn of(mut means: Vec<f64>, runs: u32) -> Self {
        means.sort_by(f64::total_cmp);
        let count = means.len() as f64;
        let mean = means.iter().sum::<f64>() / count;
        let squares: f64 = means.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
        let at = |index: usize| Duration::from_secs_f64(means[index]);
        Self {
            mean: Duration::from_secs_f64(mean),
            deviation: Duration::from_secs_f64(deviation),
            median: at(means.len() / 2),
            min: at(0),
            max: at(means.len() - 1),
            samples: means.len() as u32,
            runs,
        }
    }

    fn summary(&self) -> String {
        format!(
            "{} ± {} a run ({} samples of {} runs)",
            duration(self.mean),
            duration(self.deviation),
            self.samples,
            self.runs
        )
    }
}

impl fmt::Display for Timings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())
    }
}

impl RichDisplay for Timings {
    fn bundle(&self) -> Bundle {
        let spans = [self.median, self.min, self.max];
        Table {
            caption: self.summary(),
            header: vec!["median", "fastest", "slowest"],
            rows: vec![spans.into_iter().map(duration).collect()],
        }
        .bundle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_samples() {
        let timings = Timings::of(vec![3e-3, 1e-3, 2e-3], 10);
        assert_eq!(timings.mean, Duration::from_millis(2));
        assert_eq!(timings.deviation, Duration::from_millis(1));
        assert_eq!(timings.median, Duration::from_millis(2));
        assert_eq!(
            (timings.min, timings.max),
            (Duration::from_millis(1), Duration::from_millis(3))
        );
        assert_eq!(
            timings.to_string(),
            "2.00 ms ± 1.00 ms a run (3 samples of 10 runs)"
        );
    }

    #[test]
    fn a_run_that_sleeps_takes_at_least_its_sleep() {
        let mut count = 0;
        let timings = timeit(&mut || {
            count += 1;
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        })
        .expect("it does not fail");
        assert!(timings.min >= Duration::from_millis(20));
        // 1, 2, 4, … to find the number of runs, then the samples.
        assert_eq!(count, 2 * timings.runs - 1 + SAMPLES * timings.runs);
    }

    #[test]
    fn an_error_ends_the_measurement() {
        let failed = timeit(&mut || Err("no".into()));
        assert_eq!(failed.expect_err("fails").to_string(), "no");
    }
}
