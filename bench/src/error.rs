//! What can end a measurement.

use std::path::PathBuf;
use std::time::Duration;

use portolan_identity::{AuthorityError, SpiffeIdError};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("interrupted; what was started has ended")]
    Interrupted,
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no temporary folder, or no free port of the loopback interface: {0}")]
    Resources(#[source] std::io::Error),
    #[error(
        "this thread cannot be put on core {core}: {source}; two cores are needed, see --proxy-core and --load-core"
    )]
    Core {
        core: usize,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("{program} cannot be started: {source}; `cargo xtask bench` brings what is needed")]
    Start {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} is not ready after {after:?}; its last words:\n{words}")]
    NotReady { name: String, after: Duration, words: String },
    #[error("{name} ended ({status}); its last words:\n{words}")]
    Ended { name: String, status: String, words: String },
    #[error("{generator} gave no result: {output}")]
    Load { generator: &'static str, output: String },
    #[error("{implementation} does not do what scenario {scenario} is about: {what}")]
    Behaviour { implementation: &'static str, scenario: &'static str, what: String },
    #[error("template {template} has a placeholder that nothing fills: {rest}")]
    Template { template: &'static str, rest: String },
    #[error("a certificate cannot be made: {0}")]
    Authority(#[from] AuthorityError),
    #[error("an identity is not valid: {0}")]
    Identity(#[from] SpiffeIdError),
    #[error("the kubeconfig of the API server cannot be used: {0}")]
    Kubeconfig(String),
    #[error("the API server: {0}")]
    Api(String),
    #[error("the API server answers {path} with {status}: {message}")]
    Refused { path: String, status: u16, message: String },
    #[error("this side of the streams: {0}")]
    Client(String),
    #[error("the kernel does not count the CPU time of threads (/proc/{0}/task/*/schedstat)")]
    NoCpuTime(u32),
    #[error(
        "after {after:?} only {synchronous} of {proxies} proxies have what they asked for; the last failure: {last}"
    )]
    NotSynchronous { after: Duration, synchronous: usize, proxies: usize, last: String },
    #[error("{0} changes have not arrived everywhere: see the table")]
    Missing(usize),
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0} rounds had errors, so their figures are not comparable: see the table")]
    Errors(usize),
}
