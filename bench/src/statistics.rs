//! The arithmetic of rounds: medians, spreads, ratios.

use serde::Serialize;

/// Middle and ends of a few figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The spread of `figures`; `None` without any.
pub(crate) fn spread(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(Spread { median: f64::midpoint(lower, upper), low, high })
}

/// How `ours` compares with `theirs`, round by round: the ratio of the medians, and the lowest and highest ratio that one
/// round gave. The rounds of both must be in the same order.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    let each = spread(ours.iter().zip(theirs).map(|(a, b)| a / b))?;
    let median = spread(ours.iter().copied())?.median / spread(theirs.iter().copied())?.median;
    median.is_finite().then_some(Spread { median, ..each })
}

/// The figure that so many percent of `figures` do not exceed (nearest rank); `None` without any.
pub(crate) fn percentile(figures: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The order of a round: everyone is first equally often, so that nobody always runs after the same neighbour's heat.
pub(crate) fn rotated(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (i + round) % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_ends() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(spread([4.0, 1.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(spread([7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN, f64::INFINITY]), None);
    }

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&figures, 50.0), Some(100.0));
        assert_eq!(percentile(&figures, 99.0), Some(198.0));
        assert_eq!(percentile(&figures, 100.0), Some(200.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in the second round: the ratio does not change.
        let same = ratio(&[10.0, 20.0], &[40.0, 80.0]).unwrap();
        assert_eq!(same, Spread { median: 0.25, low: 0.25, high: 0.25 });
        let spread = ratio(&[10.0, 10.0, 30.0], &[20.0, 40.0, 40.0]).unwrap();
        assert_eq!(spread, Spread { median: 0.25, low: 0.25, high: 0.75 });
        assert_eq!(ratio(&[1.0], &[0.0]), None);
        assert_eq!(ratio(&[], &[]), None);
    }

    #[test]
    fn everyone_is_first_once() {
        let order = |round| rotated(3, round).collect::<Vec<_>>();
        assert_eq!([order(0), order(1), order(2)], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
    }
}
