//! Random messages. What the tests below find is kept in `tests/proptest-regressions`.

use http::Method;
use portolan_h1::Limits;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::generate;
use crate::oracle::ours::{self, Stop};
use crate::oracle::{METHODS, check_requests, check_responses, compare, pieces};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn valid_requests_are_accepted((count, input) in generate::requests(), seed: u64) {
        let read = ours::requests(&pieces::random(&input, seed), Limits::default());
        prop_assert_eq!((read.messages.len(), read.stop), (count, Stop::Clean));
        check_requests(&input, seed);
        compare::requests(&input);
    }

    #[test]
    fn valid_responses_are_accepted((count, input) in generate::responses(), seed: u64) {
        check_responses(&input, seed);
        let outcome = compare::responses(&input, &Method::GET);
        prop_assert_eq!((outcome.both, outcome.stop), (count, Stop::Clean));
    }
}

/// The same inputs in every run: what has not been tried yet is for `cargo xtask fuzz` to find, not for a change that has
/// nothing to do with it.
fn damaged_config() -> ProptestConfig {
    ProptestConfig { cases: 2000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(damaged_config())]

    #[test]
    fn damaged_requests(input in generate::damaged("request"), seed: u64) {
        check_requests(&input, seed);
        compare::requests(&input);
    }

    #[test]
    fn damaged_responses(input in generate::damaged("response"), seed: u64) {
        check_responses(&input, seed);
        for method in METHODS {
            compare::responses(&input, &method);
        }
    }
}
