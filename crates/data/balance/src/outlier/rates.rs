//! Who is an outlier by the results of one interval.

use super::monitor::Results;
use super::{FailurePercentage, SuccessRate};

impl Results {
    /// Per cent of successes.
    fn rate(self) -> f64 {
        self.success as f64 * 100.0 / self.total.max(1) as f64
    }

    fn has(self, volume: u32) -> bool {
        self.total > 0 && self.total >= u64::from(volume)
    }
}

/// Members whose success rate is below `average - factor * standard deviation`.
pub(super) fn below_average(results: &[Results], settings: &SuccessRate) -> Vec<usize> {
    let busy: Vec<(usize, f64)> = indexed(results, settings.request_volume);
    if busy.is_empty() || busy.len() < settings.minimum_hosts as usize {
        return Vec::new();
    }
    let count = busy.len() as f64;
    let mean = busy.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = busy.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    let threshold = mean - settings.stdev_factor * variance.sqrt();
    busy.into_iter().filter(|(_, rate)| *rate < threshold).map(|(at, _)| at).collect()
}

/// Members of which at least the threshold failed.
pub(super) fn above_threshold(results: &[Results], settings: &FailurePercentage) -> Vec<usize> {
    let busy = indexed(results, settings.request_volume);
    if busy.is_empty() || busy.len() < settings.minimum_hosts as usize {
        return Vec::new();
    }
    let threshold = f64::from(settings.threshold);
    busy.into_iter().filter(|(_, rate)| 100.0 - rate >= threshold).map(|(at, _)| at).collect()
}

fn indexed(results: &[Results], volume: u32) -> Vec<(usize, f64)> {
    results.iter().enumerate().filter(|(_, one)| one.has(volume)).map(|(at, one)| (at, one.rate())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(rates: &[u64]) -> Vec<Results> {
        rates.iter().map(|success| Results { total: 100, success: *success }).collect()
    }

    const RATE: SuccessRate = SuccessRate { minimum_hosts: 5, request_volume: 100, stdev_factor: 1.9 };
    const FAILURES: FailurePercentage =
        FailurePercentage { threshold: 85, minimum_hosts: 5, request_volume: 50 };

    /// Envoy's example: rates 50 and four times 100 have mean 90, deviation 20, threshold 52.
    #[test]
    fn who_is_far_below_the_average_is_an_outlier() {
        assert_eq!(below_average(&results(&[50, 100, 100, 100, 100]), &RATE), [0]);
        let lenient = SuccessRate { stdev_factor: 2.1, ..RATE };
        assert_eq!(below_average(&results(&[50, 100, 100, 100, 100]), &lenient), [0usize; 0]);
    }

    #[test]
    fn when_all_fail_alike_nobody_is_an_outlier() {
        assert_eq!(below_average(&results(&[10; 5]), &RATE), [0usize; 0]);
    }

    #[test]
    fn too_few_busy_hosts_say_nothing() {
        assert_eq!(below_average(&results(&[0, 100, 100, 100]), &RATE), [0usize; 0]);
        assert_eq!(above_threshold(&results(&[0; 4]), &FAILURES), [0usize; 0]);
        let mut idle = results(&[0, 100, 100, 100, 100]);
        idle[4].total = 99;
        assert_eq!(below_average(&idle, &RATE), [0usize; 0]);
    }

    #[test]
    fn the_failure_threshold_is_included() {
        assert_eq!(above_threshold(&results(&[15, 16, 0, 100, 100]), &FAILURES), [0, 2]);
    }

    #[test]
    fn a_host_without_requests_is_not_judged() {
        let none = FailurePercentage { minimum_hosts: 0, request_volume: 0, threshold: 0 };
        assert_eq!(above_threshold(&[Results::default()], &none), [0usize; 0]);
    }
}
