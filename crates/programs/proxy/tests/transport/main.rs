//! What happens below the meaning of HTTP requests: TLS, HTTP/2, gRPC, TCP, load balancing, captured traffic, traces, the admin
//! pages, Istio's metrics.
//!
//! One static bootstrap drives our program and the Envoy that `PORTOLAN_ENVOY` names; both are held to the same
//! expectations.
//!
//! Known differences; each case says so where it meets one:
//!
//! 1. A signing certificate as a leaf is refused always; Envoy refuses it where the SPIFFE validator is asked for.
//! 2. A broken secret in a file leaves the last good one in use, and other secrets go on changing; Envoy takes no other
//!    change of that context until it is mended.
//! 3. A stream that the client resets is flagged DC, as in the Envoy that Istio's dashboards were made for; now DR.
//! 4. Requests over `max_requests` count as `upstream_rq_pending_overflow`, as Istio documents; now
//!    `upstream_rq_active_overflow`.
//! 5. `lb_subset_config` is refused, and `metadata_match` chooses hosts by itself: the control plane makes a cluster of
//!    every subset.
//! 6. Maglev is served by the hash ring: keys stick, but to other hosts than with Envoy's table.
//! 7. There are no counters by single status code.
//! 8. Istio's metadata exchange over TCP is not spoken: `istio_tcp_*` has `unknown` for what neither the endpoint's
//!    metadata nor the certificate says.
//! 9. `/ready` does not wait for the first DNS answer of static clusters.
//! 10. A failed TLS handshake with an upstream is told to the client with its reason; Envoy keeps it for the
//!     log.
//! 11. The span of an attempt that another one follows has no tag `canceled`.
//! 12. Mirrored requests and those of filters have no spans, and carry the trace no further than their sender said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod admin;
mod authorization;
mod balance;
mod capture;
mod chains;
mod goodbye;
mod grpc;
mod http2;
mod mesh;
mod mtls;
mod support;
mod tcp;
mod tracing;
mod upgrade;
