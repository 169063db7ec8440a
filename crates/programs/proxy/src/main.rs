//! `portolan-proxy`: the data plane with its agent. See `portolan-proxy --help`.

#![warn(clippy::print_stdout)]

/// Requests allocate many small, short-lived objects on several threads; mimalloc is measurably ahead there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    portolan_proxy::cli::main()
}
