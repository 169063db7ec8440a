//! What filters wait for: time, and answers to requests of their own.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::callout;
use crate::filters::stream::{Answer, Callout, CalloutFail, Event, Token};
use crate::io::timer::now;
use crate::serve::worker::Worker;

/// Timers, and callouts, that one request may have at a time; more end at once.
const MAX_WAITING: usize = 16;
/// No timer runs longer; so far ahead no clock overflows.
const MAX_WAKE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

type Call = Pin<Box<dyn Future<Output = Result<Answer, CalloutFail>>>>;

/// Timers and callouts of one request. Dropping it ends them.
#[derive(Default)]
pub(super) struct Waiting {
    wakes: Vec<(Instant, Token)>,
    calls: Vec<(Token, Call)>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("wakes", &self.wakes).field("calls", &self.calls.len()).finish()
    }
}

/// Something that a filter asked for.
pub(super) struct Happened {
    pub(super) at: Token,
    pub(super) event: Event,
}

impl Waiting {
    pub(super) fn wake(&mut self, at: Token, after: Duration) {
        let after = if self.wakes.len() < MAX_WAITING { after.min(MAX_WAKE) } else { Duration::ZERO };
        self.wakes.push((now() + after, at));
    }

    pub(super) fn call(&mut self, at: Token, callout: Callout, worker: &Rc<Worker>) {
        let call: Call = match self.calls.len() < MAX_WAITING {
            true => Box::pin(callout::send(worker.clone(), callout)),
            false => Box::pin(std::future::ready(Err(CalloutFail::Upstream))),
        };
        self.calls.push((at, call));
    }

    /// An answer that came.
    pub(super) fn poll_calls(&mut self, cx: &mut Context<'_>) -> Option<Happened> {
        for at in 0..self.calls.len() {
            if let Poll::Ready(answer) = self.calls[at].1.as_mut().poll(cx) {
                let (token, _) = self.calls.swap_remove(at);
                return Some(Happened { at: token, event: Event::Answer(token.id(), answer) });
            }
        }
        None
    }

    /// When the next timer ends.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.iter().map(|(when, _)| *when).min()
    }

    /// A timer that has ended.
    pub(super) fn woken(&mut self, now: Instant) -> Option<Happened> {
        let at = self.wakes.iter().position(|(when, _)| *when <= now)?;
        let (_, token) = self.wakes.swap_remove(at);
        Some(Happened { at: token, event: Event::Wake(token.id()) })
    }
}
