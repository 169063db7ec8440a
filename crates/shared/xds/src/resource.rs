//! One xDS resource, encoded once and shared by everybody who receives it.

use std::sync::Arc;

use bytes::Bytes;

/// An encoded resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Name that proxies subscribe to.
    pub name: Arc<str>,
    /// Changes with the content, and only with it.
    pub version: Arc<str>,
    /// Type of the body.
    pub type_url: &'static str,
    /// The encoded message.
    pub body: Bytes,
}
