//! Earliest deadline first: weighted round robin that keeps the picks of each host evenly apart.
//!
//! Every entry is due again `1 / weight` after it was picked; the one that is due first is next. Weights may change
//! between picks, as those of least request and slow start do.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Smallest weight that is told apart from nothing. It bounds how far deadlines can run away from each other.
const MIN_WEIGHT: f64 = 1e-6;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Edf {
    queue: BinaryHeap<Entry>,
    now: f64,
    order: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: f64,
    /// Among equals, the one that waits longest is first.
    order: u64,
    index: u32,
}

impl Ord for Entry {
    /// The greatest is the first to leave the heap, so the order is turned around.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Edf {
    /// A schedule that is at `start` (of `0.0..1.0`) of its first round, so that workers which begin at the same time do
    /// not all choose the same hosts.
    pub(crate) fn new(weights: impl Iterator<Item = f64>, start: f64) -> Edf {
        let queue = weights
            .enumerate()
            .map(|(index, weight)| {
                let weight = weight.max(MIN_WEIGHT);
                let deadline = ((start * weight).floor() + 1.0) / weight;
                Entry { deadline, order: index as u64, index: index as u32 }
            })
            .collect::<BinaryHeap<_>>();
        Edf { order: queue.len() as u64, queue, now: start }
    }

    /// The entry whose turn it is. `weight` is asked for its weight from now on.
    pub(crate) fn pick(&mut self, weight: impl FnOnce(usize) -> f64) -> Option<usize> {
        let mut first = self.queue.peek_mut()?;
        let index = first.index as usize;
        self.now = first.deadline;
        first.deadline = self.now + 1.0 / weight(index).max(MIN_WEIGHT);
        first.order = self.order;
        self.order = self.order.wrapping_add(1);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picks(weights: &[f64], start: f64, count: usize) -> Vec<usize> {
        let mut edf = Edf::new(weights.iter().copied(), start);
        (0..count).map(|_| edf.pick(|at| weights[at]).unwrap()).collect()
    }

    #[test]
    fn picks_are_evenly_apart() {
        assert_eq!(picks(&[2.0, 4.0], 0.0, 6), [1, 0, 1, 1, 0, 1]);
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(picks(&[1.0, 1.0, 1.0], 0.0, 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn nobody_is_picked_of_nobody() {
        assert_eq!(Edf::default().pick(|_| 1.0), None);
    }

    #[test]
    fn odd_weights_do_no_harm() {
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
            let seen = picks(&[odd, 1.0], 0.5, 10);
            assert_eq!(seen.len(), 10, "{odd}");
        }
    }

    #[test]
    fn a_changed_weight_counts_from_the_next_turn() {
        let mut edf = Edf::new([1.0, 1.0].into_iter(), 0.0);
        let mut seen = [0; 2];
        for _ in 0..100 {
            seen[edf.pick(|at| [9.0, 1.0][at]).unwrap()] += 1;
        }
        assert_eq!(seen, [90, 10]);
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_round(
            weights in prop::collection::vec(1u32..50, 1..20),
            start in 0.0f64..1.0,
        ) {
            let floats: Vec<f64> = weights.iter().map(|weight| f64::from(*weight)).collect();
            let total: u32 = weights.iter().sum();
            let mut seen = vec![0u32; weights.len()];
            for at in picks(&floats, start, total as usize * 3) {
                seen[at] += 1;
            }
            for (seen, weight) in seen.iter().zip(&weights) {
                prop_assert!(seen.abs_diff(weight * 3) <= 1, "{seen:?} of {weights:?}");
            }
        }
    }
}
