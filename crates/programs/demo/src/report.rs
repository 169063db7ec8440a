//! What the demo prints: steps, ticks, and what went wrong.

use portolan_client::say;
use std::fmt::Display;
use std::time::Instant;

/// Ticks and their times.
pub(super) struct Report {
    start: Instant,
    last: Instant,
    ticks: usize,
}

impl Report {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { start: now, last: now, ticks: 0 }
    }

    /// A new step begins.
    pub(super) fn step(&mut self, number: usize, title: &str) {
        say!("\n{number}. {title}");
        self.last = Instant::now();
    }

    /// A headline without a number.
    pub(super) fn title(&mut self, title: &str) {
        say!("{title}");
        self.last = Instant::now();
    }

    /// Something has been observed to be true.
    pub(super) fn tick(&mut self, what: impl Display) {
        let seconds = self.last.elapsed().as_secs_f64();
        say!("   \u{2713} {what}  ({seconds:.1} s)");
        self.last = Instant::now();
        self.ticks += 1;
    }

    /// A command that the user could have typed.
    pub(super) fn command(&self, line: impl Display) {
        say!("     $ {line}");
    }

    /// Something did not come true.
    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        say!("   \u{2717} {error:#}");
    }

    pub(super) fn summary(&self) {
        say!("\n{} observations in {:.0} s", self.ticks, self.start.elapsed().as_secs_f64());
    }
}
