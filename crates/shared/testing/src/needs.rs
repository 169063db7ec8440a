//! What a test needs of the machine. A test that does not get it fails, unless the environment says that it is known to be
//! missing: a test that quietly passes without having looked is worse than none.

use std::path::PathBuf;

/// Names an Envoy program.
const ENVOY: &str = "PORTOLAN_ENVOY";
/// Set to 1: the halves of tests that run Envoy are left out.
const SKIP_ENVOY: &str = "PORTOLAN_SKIP_ENVOY";
/// Set to 1: tests that need root are left out.
const SKIP_ROOT: &str = "PORTOLAN_SKIP_ROOT";

/// The Envoy that `PORTOLAN_ENVOY` names; `None` when `PORTOLAN_SKIP_ENVOY=1` says to do without.
pub fn envoy() -> Option<PathBuf> {
    let given = std::env::var_os(ENVOY).filter(|path| !path.is_empty()).map(PathBuf::from);
    if given.is_none() && !is_set(SKIP_ENVOY) {
        panic!(
            "{ENVOY} does not name an Envoy program (`cargo xtask tools` fetches one and says where it is); \
             {SKIP_ENVOY}=1 leaves out what needs it"
        );
    }
    given
}

/// Whether this process is root; false only when `PORTOLAN_SKIP_ROOT=1` says to do without.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || is_set(SKIP_ROOT),
        "network namespaces need root; {SKIP_ROOT}=1 leaves out what needs them"
    );
    root
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value == "1")
}
