//! Reports spans to their collectors, beside the requests: none waits for a report, and none sees that one failed.

use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use super::callout;
use crate::filters::stream::CalloutFail;
use crate::serve::worker::Worker;
use crate::stats::metrics::TracerStats;
use crate::telemetry::spans::Pushed;
use crate::tracers::Tracer;
use crate::tracers::span::Span;

/// Takes a span that is over.
pub(super) fn report(worker: &Rc<Worker>, tracer: &Arc<dyn Tracer>, span: Span) {
    match worker.spans.push(tracer, span) {
        Pushed::Waits => {}
        Pushed::Enough => begin(worker, tracer),
        Pushed::Dropped => count(worker, tracer, |stats| stats.spans_dropped.inc()),
    }
}

/// Reports what waits, however little it is.
pub(crate) fn flush(worker: &Rc<Worker>) {
    for tracer in worker.spans.tracers() {
        count(worker, &tracer, |stats| stats.timer_flushed.inc());
        begin(worker, &tracer);
    }
}

fn begin(worker: &Rc<Worker>, tracer: &Arc<dyn Tracer>) {
    let Some(spans) = worker.spans.take(tracer) else { return };
    tokio::task::spawn_local(send(worker.clone(), tracer.clone(), spans));
}

/// Sends a report, and further ones while there is enough for them.
async fn send(worker: Rc<Worker>, tracer: Arc<dyn Tracer>, mut spans: Vec<Span>) {
    loop {
        count(&worker, &tracer, |stats| stats.spans_sent.add(spans.len() as u64));
        let request = tracer.report(&spans, &worker.shared.tracing.endpoint);
        let answer = callout::send(worker.clone(), request).await;
        count(&worker, &tracer, |stats| match answer {
            // What collectors answer to what they take.
            Ok(answer) if answer.status == StatusCode::ACCEPTED => stats.reports_sent.inc(),
            Ok(_) => stats.reports_dropped.inc(),
            Err(CalloutFail::NoCluster) => stats.reports_skipped_no_cluster.inc(),
            Err(_) => stats.reports_failed.inc(),
        });
        if !worker.spans.reported(&tracer) {
            return;
        }
        match worker.spans.take(&tracer) {
            Some(next) => spans = next,
            None => return,
        }
    }
}

fn count(worker: &Worker, tracer: &Arc<dyn Tracer>, count: impl FnOnce(&TracerStats)) {
    if let Some(stats) = worker.shared.tracing.stats(tracer.name(), worker.id) {
        count(stats);
    }
}
