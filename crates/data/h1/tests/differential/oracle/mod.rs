//! What the codec is held against, shared by the test binary and the fuzz targets: the same bytes read by it and
//! by hyper, in one piece and in many, and written again and read again. Everything reports by panicking.

pub mod compare;
pub mod ours;
pub mod pieces;
pub mod reencode;
pub mod seen;
pub mod stricter;
pub mod theirs;

use http::Method;
use portolan_h1::Limits;

/// Methods that decide how a response is framed (RFC 9112 6.3), and one that does not.
pub const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::CONNECT];

/// Small enough for short inputs to reach them.
pub const TIGHT: Limits = Limits { head_bytes: 96, headers: 4 };

/// Reads requests in every way; the result must not depend on how the input was split, and what was read must
/// survive being written and read again.
pub fn check_requests(input: &[u8], seed: u64) {
    for limits in [Limits::default(), TIGHT] {
        let whole = ours::requests(&[input], limits);
        for pieces in [pieces::single_bytes(input), pieces::random(input, seed)] {
            assert_eq!(ours::requests(&pieces, limits), whole, "depends on reads: {}", pieces::show(&pieces));
        }
        for message in &whole.messages {
            reencode::request(message);
        }
    }
}

/// The same for responses, to each method that matters.
pub fn check_responses(input: &[u8], seed: u64) {
    for (limits, method) in [Limits::default(), TIGHT].iter().flat_map(|limits| METHODS.map(|m| (*limits, m)))
    {
        let whole = ours::response(&[input], &method, limits);
        for pieces in [pieces::single_bytes(input), pieces::random(input, seed)] {
            let split = ours::response(&pieces, &method, limits);
            assert_eq!(split, whole, "depends on reads: {}", pieces::show(&pieces));
        }
        for message in whole.informational.iter().chain(&whole.messages) {
            reencode::response(message, &method);
        }
    }
}
