//! Ports, labels, annotations, environment variables and names that are fixed by Istio, Service Mesh or Kubernetes.
//! Each is written once, here.

pub mod annotations;
pub mod env;
pub mod labels;
pub mod names;
pub mod ports;
