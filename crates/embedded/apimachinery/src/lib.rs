//! Pure Kubernetes API machinery over [`serde_json::Value`]: everything an API server must know that needs
//! no store, no socket and no clock.
//!
//! It exists because the Rust ecosystem has clients of the Kubernetes API but nothing for the serving side:
//! strategic merge, server-side apply, pruning, tables, discovery and OpenAPI documents.
//!
//! The invariant: a [`resources::Resource`] carries all that is known about one served resource (names, verbs,
//! schema, columns, the custom resource's rules), and every function here takes it; no function asks whether a
//! kind is built in. Source of the behaviour: the Kubernetes API
//! conventions and the API server itself.
//!
//! The path of a write, in the order an API server calls it: [`body::decode`] (or [`patch::patch`],
//! [`managed::apply`]), [`strategy::prepare_for_create`] or [`strategy::prepare_for_update`],
//! [`defaults::apply`], admission, [`validate::create`] or [`validate::update`], [`managed::track_update`],
//! the store.

#[cfg(test)]
mod attack;
pub mod body;
pub mod convert;
pub mod crd;
pub mod custom;
pub mod defaults;
pub mod discovery;
mod fields;
pub mod gvk;
mod json;
pub mod jsonpath;
pub mod managed;
pub mod openapi;
pub mod patch;
mod path;
pub mod printers;
pub mod protobuf;
pub mod quantity;
pub mod rbac;
pub mod resources;
pub mod scale;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod syntax;
pub mod table;
pub mod time;
pub mod validate;

pub use gvk::{GroupVersion, GroupVersionKind};
pub use resources::{Resource, ResourceTable};
pub use status::ApiStatus;
