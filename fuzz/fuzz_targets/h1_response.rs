//! Responses: limits, independence of reads, and the way out and in again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_fuzz::oracle::{check_responses, pieces};

fuzz_target!(|input: &[u8]| check_responses(input, pieces::seed_of(input)));
