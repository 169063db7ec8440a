//! Role-based access control: a pure evaluator and the default roles
//! (Kubernetes documentation, "Using RBAC Authorization").

mod defaults;
mod denial;
mod escalation;
mod policy;

pub use defaults::default_objects;
pub use denial::denial;
pub use escalation::{Escalation, Granter};
pub use policy::{Attributes, Policy, SUPERUSERS};

#[cfg(test)]
mod tests;
