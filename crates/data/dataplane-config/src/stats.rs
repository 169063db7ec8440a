//! Counters and gauges that one worker writes and anybody may read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Type of a metric, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution.
    Histogram,
}

/// A number with one writer: plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Stat(AtomicU64);

impl Stat {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Adds 1.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes 1 away; wraps.
    pub fn dec(&self) {
        self.add(u64::MAX);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Defines a block of statistics and how it is listed.
#[macro_export]
macro_rules! stats_block {
    ($(#[$meta:meta])* $vis:vis $name:ident { $($(#[$fmeta:meta])* $kind:ident $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            $(
                #[doc = "Envoy's statistic of this name."]
                $(#[$fmeta])*
                $vis $field: $crate::stats::Stat,
            )*
        }
        impl $name {
            /// Name, kind and sum of each statistic over all workers.
            $vis fn totals<'a>(
                blocks: impl Iterator<Item = &'a $name>,
            ) -> Vec<(&'static str, $crate::stats::MetricKind, u64)> {
                let mut out = vec![$((stringify!($field), $crate::stats::MetricKind::$kind, 0u64),)*];
                for block in blocks {
                    let mut at = 0;
                    $(
                        if let Some(entry) = out.get_mut(at) { entry.2 = entry.2.wrapping_add(block.$field.get()); }
                        at += 1;
                    )*
                    let _ = at;
                }
                out
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_goes_up_and_down() {
        let stat = Stat::default();
        stat.add(5);
        stat.inc();
        stat.dec();
        stat.dec();
        assert_eq!(stat.get(), 4);
    }
}
