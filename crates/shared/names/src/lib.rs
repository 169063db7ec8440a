//! What is fixed by Istio, OpenShift Service Mesh or Kubernetes: ports, labels, annotations, environment variables,
//! paths and names of objects. Each is written once, here, for both halves of the mesh; so this crate depends on nothing.
//!
//! What only one room knows (a limit, a default, a name that nobody else reads) stays in that room.

pub mod annotations;
pub mod env;
pub mod labels;
pub mod names;
pub mod paths;
pub mod ports;
