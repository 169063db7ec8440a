//! Building answers: objects, lists, tables, errors.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use portolan_apimachinery::{ApiStatus, Resource, convert, table};
use serde_json::{Value, json};

use crate::clock;
use crate::http::{Body, full};
use crate::limits;
use crate::negotiate::Form;
use crate::request::Query;
use crate::store::Object;

pub(crate) type Answer = Response<Body>;

pub(crate) const JSON: &str = "application/json";

/// An answer of bytes.
pub(crate) fn bytes(status: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(bytes));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer of a JSON value.
pub(crate) fn value(status: u16, value: &Value) -> Answer {
    bytes(status, JSON, value.to_string())
}

/// An error.
pub(crate) fn error(error: &ApiStatus) -> Answer {
    let mut answer = value(error.code, &error.to_value());
    let retry = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry));
    }
    answer
}

/// Adds a `Warning` header for each text, as many and as long as clients take.
pub(crate) fn warn(mut answer: Answer, warnings: &[String]) -> Answer {
    let (mut room, mut left) = (limits::MAX_WARNINGS_TOTAL, warnings.len());
    let add = |answer: &mut Answer, text: &str| {
        let clean: String = text
            .chars()
            .take(limits::MAX_WARNING)
            .map(|c| match c {
                '"' | '\\' => '\'',
                c if c.is_ascii_graphic() || c == ' ' => c,
                _ => ' ',
            })
            .collect();
        if let Ok(header_value) = HeaderValue::try_from(format!("299 - \"{clean}\"")) {
            answer.headers_mut().append(header::WARNING, header_value);
        }
        clean.len()
    };
    for text in warnings.iter().take(limits::MAX_WARNINGS) {
        if room < text.len().min(limits::MAX_WARNING) {
            break;
        }
        room -= add(&mut answer, text).min(room);
        left -= 1;
    }
    if left > 0 {
        add(&mut answer, &format!("{left} more warnings are not shown"));
    }
    answer
}

/// Whether the stored text is what `resource` shows, so that it can be sent as it is.
pub(crate) fn is_stored_form(resource: &Resource, object: &Object) -> bool {
    resource.storage.group == resource.group
        && resource.storage.plural == resource.plural
        && object.value.get("apiVersion").and_then(Value::as_str) == Some(&resource.api_version())
}

/// The object in the form of `resource`.
pub(crate) fn served(resource: &Resource, object: &Object) -> Value {
    if is_stored_form(resource, object) {
        object.value.clone()
    } else {
        convert::from_storage(resource, object.value.clone())
    }
}

/// The object's text in the form of `resource`.
pub(crate) fn served_json(resource: &Resource, object: &Object) -> Bytes {
    if is_stored_form(resource, object) {
        object.json.clone()
    } else {
        served(resource, object).to_string().into()
    }
}

/// Answers one object in the form that the client wants.
pub(crate) fn object(status: u16, resource: &Resource, form: Form, query: &Query, object: &Value) -> Answer {
    value(status, &shown(resource, form, query, object, true))
}

/// One object in a form. `with_columns` matters for tables only.
pub(crate) fn shown(
    resource: &Resource,
    form: Form,
    query: &Query,
    object: &Value,
    with_columns: bool,
) -> Value {
    match form {
        Form::Object => object.clone(),
        Form::Metadata => partial(object),
        Form::Table => {
            let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
            table::render(
                resource,
                [object],
                json!({"resourceVersion": version}),
                include_object(query),
                with_columns,
                clock::seconds(),
            )
        }
    }
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

fn include_object(query: &Query) -> table::IncludeObject {
    match query.get("includeObject") {
        Some("None") => table::IncludeObject::None,
        Some("Object") => table::IncludeObject::Object,
        _ => table::IncludeObject::Metadata,
    }
}

/// What a list says about itself.
pub(crate) struct ListMeta {
    pub(crate) revision: u64,
    pub(crate) next: Option<String>,
    pub(crate) remaining: Option<usize>,
}

impl ListMeta {
    fn value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            meta["continue"] = json!(next);
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta
    }
}

/// Answers a list in the form that the client wants.
pub(crate) fn list(
    resource: &Resource,
    form: Form,
    query: &Query,
    meta: &ListMeta,
    items: &[std::sync::Arc<Object>],
) -> Answer {
    let meta = meta.value();
    match form {
        Form::Object => {
            // The stored texts are put together; no object is serialised again.
            let head =
                json!({"kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": meta});
            let head = head.to_string();
            let size: usize = items.iter().map(|item| item.json.len() + 1).sum();
            let mut text = BytesMut::with_capacity(head.len() + size + 16);
            text.put_slice(head.trim_end_matches('}').as_bytes());
            text.put_slice(b"},\"items\":[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.put_u8(b',');
                }
                text.put_slice(&served_json(resource, item));
            }
            text.put_slice(b"]}");
            bytes(200, JSON, text.freeze())
        }
        Form::Metadata => {
            let items: Vec<Value> = items.iter().map(|item| partial(&item.value)).collect();
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items,
            });
            value(200, &list)
        }
        Form::Table => {
            let items: Vec<Value> = items.iter().map(|item| served(resource, item)).collect();
            let table = table::render(resource, &items, meta, include_object(query), true, clock::seconds());
            value(200, &table)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_what_clients_can_read() {
        let warned = |texts: &[String]| {
            let answer = warn(value(200, &json!({})), texts);
            let fields: Vec<String> = answer
                .headers()
                .get_all(header::WARNING)
                .iter()
                .map(|field| field.to_str().unwrap().to_owned())
                .collect();
            assert!(fields.len() <= limits::MAX_WARNINGS + 1);
            assert!(fields.iter().all(|field| field.len() <= limits::MAX_WARNING + 8));
            assert!(fields.iter().map(String::len).sum::<usize>() <= limits::MAX_WARNINGS_TOTAL * 2);
            fields
        };
        assert_eq!(warned(&["a \"b\"\n".to_owned()]), ["299 - \"a 'b' \""]);
        assert_eq!(
            warned(&vec!["x".to_owned(); 100]).last().unwrap(),
            "299 - \"60 more warnings are not shown\""
        );
        assert_eq!(warned(&["x".repeat(1 << 20)]).len(), 1);
        let long = warned(&vec!["x".repeat(1000); 30]);
        assert_eq!(long.last().unwrap(), "299 - \"22 more warnings are not shown\"");
    }
}
