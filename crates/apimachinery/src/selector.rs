//! Label and field selectors.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {}

/// A field selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {}

impl LabelSelector {
    /// Parses the text of `labelSelector=`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Empty selects everything.
    ///
    /// # Errors
    /// 400 that says what does not parse.
    pub fn parse(text: &str) -> Result<Self, ApiStatus> {
        let _ = text;
        Ok(Self::default())
    }

    /// Reads a LabelSelector object (`matchLabels`, `matchExpressions`). `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// 400 for an unknown operator or bad values.
    pub fn from_object(selector: &Value) -> Result<Self, ApiStatus> {
        let _ = selector;
        Ok(Self::default())
    }

    /// Whether an object's labels match. `labels` is `metadata.labels`; anything else than an object has none.
    pub fn matches(&self, labels: Option<&Value>) -> bool {
        let _ = labels;
        true
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        true
    }
}

impl FieldSelector {
    /// Parses the text of `fieldSelector=` for `resource`: `metadata.name=x,status.phase!=Running`.
    ///
    /// # Errors
    /// 400 for a malformed text or a field that the resource cannot be selected by.
    pub fn parse(resource: &Resource, text: &str) -> Result<Self, ApiStatus> {
        let _ = (resource, text);
        Ok(Self::default())
    }

    /// Whether an object matches.
    pub fn matches(&self, object: &Value) -> bool {
        let _ = object;
        true
    }

    /// The name that it demands, if it demands one (`metadata.name=x`): lets a list become a get.
    pub fn name(&self) -> Option<&str> {
        None
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        true
    }
}
