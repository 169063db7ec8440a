//! `portolan-bench control-plane`: what a change costs the control plane, and how long it takes to be everywhere.
//!
//! A synthetic mesh is written into an API server of our own; the real control plane reads it, in a process of its own;
//! this process is all the proxies: real TLS, real delta ADS streams, each subscribed as our proxy is, everything
//! acknowledged at once. Then one thing is changed at a time. A change has arrived at a proxy when the resources that it
//! must change there hold a text that was in nothing before (the change's *marker*).
//!
//! CPU is that of each process. Control plane, API server and client share the machine's cores, as nobody has a core of
//! their own in the goals either. Beside it stands the floor: what it costs any program to write one small TLS record to
//! each of as many connections.

mod api;
mod changes;
mod client;
mod cpu;
mod credentials;
mod fleet;
mod floor;
mod goals;
mod kubeconfig;
mod mesh;
mod node;
mod objects;
mod options;
mod report;
mod restart;
mod run;
mod servers;
mod steps;
mod wait;

pub(crate) use floor::{FloorOptions, serve as serve_floor};
pub(crate) use options::ControlPlaneOptions;
pub(crate) use run::run;
