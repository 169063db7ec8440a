//! `Status` objects: the one error form of the API, with the reasons, codes and texts that clients match on.
//!
//! kubectl and client-go decide by `reason` and `code` (retry, create, delete, print), and people read `message`;
//! both follow k8s.io/apimachinery `api/errors`.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value, json};

/// An error answer: serialise it with [`ApiStatus::to_value`] and send it with [`ApiStatus::code`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiStatus {
    /// HTTP status code.
    pub code: u16,
    /// Machine readable reason, for example `NotFound`.
    pub reason: &'static str,
    /// Text for people.
    pub message: String,
    /// `details` of the Status, when there is something to say.
    pub details: Option<Box<Details>>,
}

/// `details` of a Status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group of the object.
    pub group: String,
    /// Plural resource name, or the kind for `Invalid` (as the real server does).
    pub kind: String,
    /// UID of the object, set by delete answers.
    pub uid: String,
    /// The single faults that make up this error.
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense, 0 for none.
    pub retry_after_seconds: u32,
}

/// One fault inside an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldManagerConflict` and the like; may be empty.
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// Path of the field, may be empty.
    pub field: String,
}

/// What an error calls the resource that it is about.
pub trait Named {
    /// API group, empty for core.
    fn group(&self) -> &str;
    /// Kind of one object.
    fn kind(&self) -> &str;
    /// Plural name, as in paths.
    fn plural(&self) -> &str;
}

impl<T: Named> Named for Arc<T> {
    fn group(&self) -> &str {
        (**self).group()
    }

    fn kind(&self) -> &str {
        (**self).kind()
    }

    fn plural(&self) -> &str {
        (**self).plural()
    }
}

impl ApiStatus {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let details = self.details.get_or_insert_default();
        details.name = name.to_owned();
        details.group = group.to_owned();
        details.kind = kind.to_owned();
        self
    }

    fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// 404: the object `name` does not exist.
    pub fn not_found(resource: &impl Named, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", group_resource(resource.group(), resource.plural())),
        )
        .about(resource.group(), resource.plural(), name)
    }

    /// 404: there is no such path.
    pub fn unknown_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_causes(Vec::new())
    }

    /// 409: create of a name that is taken.
    pub fn already_exists(resource: &impl Named, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", group_resource(resource.group(), resource.plural())),
        )
        .about(resource.group(), resource.plural(), name)
    }

    /// 409: the resourceVersion of the write is not the stored one.
    pub fn stale(resource: &impl Named, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 with a text of the caller (uid precondition, deletion in progress, ...).
    pub fn conflict(resource: &impl Named, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {why}",
                group_resource(resource.group(), resource.plural())
            ),
        )
        .about(resource.group(), resource.plural(), name)
    }

    /// 409 of a server-side apply that would take fields of other managers.
    pub fn apply_conflict(message: String, causes: Vec<Cause>) -> Self {
        Self::new(409, "Conflict", message).with_causes(causes)
    }

    /// 422: the object breaks the rules of its kind; `errors` must not be empty.
    pub fn invalid(resource: &impl Named, name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let list = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
        let qualified = if resource.group().is_empty() {
            resource.kind().to_owned()
        } else {
            format!("{}.{}", resource.kind(), resource.group())
        };
        Self::new(422, "Invalid", format!("{qualified} \"{name}\" is invalid: {list}"))
            .about(resource.group(), resource.kind(), name)
            .with_causes(errors.iter().map(FieldError::cause).collect())
    }

    /// 403 by authorization or admission; `name` may be empty.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = group_resource(group, plural);
        let message = match (plural.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::new(403, "Forbidden", message).about(group, plural, name)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed(group: &str, plural: &str, verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} is not supported on resources of kind \"{}\"", group_resource(group, plural)),
        )
        .about(group, plural, "")
    }

    /// 406: no media type of `Accept` can be produced.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    /// 415: the body's `Content-Type` is not understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 410 `Expired`: the resourceVersion or continue token is older than the history that is kept.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 410 `Expired` for a watch or list from revision `asked` when the oldest kept one is `oldest`.
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 504: the request took too long.
    pub fn timeout(message: &str) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}"))
    }

    /// 504 for a resourceVersion that lies in the future; clients retry it after a second.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut status = Self::timeout(&format!("Too large resource version: {asked}, current: {current}"))
            .with_causes(vec![Cause {
                reason: "ResourceVersionTooLarge".into(),
                message: "Too large resource version".into(),
                field: String::new(),
            }]);
        status.details.get_or_insert_default().retry_after_seconds = 1;
        status
    }

    /// 429 with the number of seconds after which a retry makes sense.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut status = Self::new(429, "TooManyRequests", message);
        status.details.get_or_insert_default().retry_after_seconds = retry_after_seconds;
        status
    }

    /// 413: the body is larger than the named limit.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
            .with_causes(vec![Cause { reason: String::new(), message, field: String::new() }])
    }

    /// An error with a code and text that somebody else chose (an admission webhook's `status`).
    pub fn custom(code: u16, reason: Option<&str>, message: impl Into<String>) -> Self {
        const KNOWN: &[&str] = &[
            "BadRequest",
            "Unauthorized",
            "Forbidden",
            "NotFound",
            "AlreadyExists",
            "Conflict",
            "Gone",
            "Invalid",
            "Timeout",
            "TooManyRequests",
            "InternalError",
            "Expired",
            "ServiceUnavailable",
            "MethodNotAllowed",
        ];
        let reason = reason.and_then(|r| KNOWN.iter().find(|k| **k == r)).copied().unwrap_or("");
        Self::new(code, reason, message)
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            object["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            object["details"] = details.to_value();
        }
        object["code"] = json!(self.code);
        object
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in
            [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)]
        {
            if !text.is_empty() {
                out.insert(key.into(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            out.insert("causes".into(), self.causes.iter().map(Cause::to_value).collect());
        }
        if self.retry_after_seconds > 0 {
            out.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(out)
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (key, text) in [("reason", &self.reason), ("message", &self.message), ("field", &self.field)] {
            if !text.is_empty() {
                out.insert(key.into(), json!(text));
            }
        }
        Value::Object(out)
    }
}

/// The `Success` Status that answers a delete whose object is gone.
pub fn deleted(resource: &impl Named, name: &str, uid: &str) -> Value {
    let details = Details {
        name: name.into(),
        group: resource.group().to_owned(),
        kind: resource.plural().to_owned(),
        uid: uid.into(),
        ..Details::default()
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details.to_value()})
}

/// `deployments.apps`, or `pods` for the core group.
pub fn group_resource(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

/// One broken rule at one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Which class of rule.
    pub kind: FieldErrorKind,
    /// Path as people write it: `spec.containers[0].name`; empty for the whole object.
    pub field: String,
    /// The offending value; left out for `Required`, `Forbidden` and `Internal`.
    pub value: Option<Value>,
    /// What is wrong and what is allowed.
    pub detail: String,
}

/// The class of a [`FieldError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of metav1.CauseType")]
pub enum FieldErrorKind {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    NotFound,
    Forbidden,
    TooLong,
    TooMany,
}

impl FieldError {
    /// A missing value.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: FieldErrorKind::Required, field: field.into(), value: None, detail: detail.into() }
    }

    /// A malformed or out-of-range value.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            kind: FieldErrorKind::Invalid,
            field: field.into(),
            value: Some(value.into()),
            detail: detail.into(),
        }
    }

    /// A value of the wrong JSON type.
    pub fn type_invalid(
        field: impl Into<String>,
        value: impl Into<Value>,
        detail: impl Into<String>,
    ) -> Self {
        Self { kind: FieldErrorKind::TypeInvalid, ..Self::invalid(field, value, detail) }
    }

    /// A value outside an enumeration.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        Self { kind: FieldErrorKind::NotSupported, ..Self::invalid(field, value, detail) }
    }

    /// A second entry with the same key.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { kind: FieldErrorKind::Duplicate, ..Self::invalid(field, value, "") }
    }

    /// A reference to something that is not there.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { kind: FieldErrorKind::NotFound, ..Self::invalid(field, value, "") }
    }

    /// A value that must not be given here.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind: FieldErrorKind::Forbidden, field: field.into(), value: None, detail: detail.into() }
    }

    fn body(&self) -> String {
        use FieldErrorKind as K;
        let (head, with_value) = match self.kind {
            K::Required => ("Required value", false),
            K::Invalid | K::TypeInvalid => ("Invalid value", true),
            K::NotSupported => ("Unsupported value", true),
            K::Duplicate => ("Duplicate value", true),
            K::NotFound => ("Not found", true),
            K::Forbidden => ("Forbidden", false),
            K::TooLong => ("Too long", false),
            K::TooMany => ("Too many", true),
        };
        let mut text = head.to_owned();
        if let (true, Some(value)) = (with_value, &self.value) {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    fn cause(&self) -> Cause {
        use FieldErrorKind as K;
        let reason = match self.kind {
            K::Required => "FieldValueRequired",
            K::Invalid => "FieldValueInvalid",
            K::TypeInvalid => "FieldValueTypeInvalid",
            K::NotSupported => "FieldValueNotSupported",
            K::Duplicate => "FieldValueDuplicate",
            K::NotFound => "FieldValueNotFound",
            K::Forbidden => "FieldValueForbidden",
            K::TooLong => "FieldValueTooLong",
            K::TooMany => "FieldValueTooMany",
        };
        let field = if self.field.is_empty() { "<nil>".to_owned() } else { self.field.clone() };
        Cause { reason: reason.into(), message: self.body(), field }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() { "<nil>" } else { &self.field };
        write!(f, "{field}: {}", self.body())
    }
}
