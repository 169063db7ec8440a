//! Functions that panic. A defect in one of them costs what it makes and what reads that, and nothing else: values that
//! were made before stay.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use crate::{
    failure::Failure,
    node::{Graph, Id, Shared},
};

/// Failures that are remembered until somebody asks for them; of more there is nothing new to learn.
const MAX_FAILURES: usize = 64;

/// What unwinds through those who read a value that could not be made.
struct Unmade(String);

/// Runs a function of an entry. When it panics there is nothing, and that is written down.
pub(crate) fn guarded<T>(graph: &Shared, id: Id, derive: impl FnOnce() -> T) -> Option<T> {
    // What a function leaves half done is its own: the graph is written by nobody else meanwhile.
    let caught = match catch_unwind(AssertUnwindSafe(derive)) {
        Ok(value) => return Some(value),
        Err(caught) => caught,
    };
    let mut graph = graph.borrow_mut();
    let (reason, first) = reason(caught.as_ref());
    if first && graph.failures.len() < MAX_FAILURES {
        let key = graph.get(id).map(|node| (node.ops.show)(node.key.as_ref())).unwrap_or_default();
        graph.failures.push(Failure { key, reason: reason.clone() });
    }
    graph.count_failure(id);
    if let Some(node) = graph.get_mut(id) {
        node.failed = Some(reason.into());
    }
    None
}

/// What a panic says, and whether it is the first word about it.
fn reason(caught: &(dyn Any + Send)) -> (String, bool) {
    if let Some(Unmade(reason)) = caught.downcast_ref() {
        return (reason.clone(), false);
    }
    let text = caught.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| caught.downcast_ref::<&str>().copied());
    (text.unwrap_or("no reason given").to_owned(), true)
}

/// Ends the function that has read an entry without a value.
pub(crate) fn unmade(graph: &Graph, id: Id, within: bool) -> ! {
    let reason = graph.get(id).and_then(|node| node.failed.as_deref()).unwrap_or_default().to_owned();
    // Nothing is printed: that has been done where it broke.
    if within { resume_unwind(Box::new(Unmade(reason))) } else { resume_unwind(Box::new(reason)) }
}
