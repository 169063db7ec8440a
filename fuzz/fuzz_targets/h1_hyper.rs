//! The same bytes to the codec and to hyper, as responses when they look like one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portolan_fuzz::oracle::{METHODS, compare};

fuzz_target!(|input: &[u8]| {
    if input.trim_ascii_start().starts_with(b"HTTP/") {
        for method in METHODS {
            compare::responses(input, &method);
        }
    } else {
        compare::requests(input);
    }
});
