//! Deterministic encoding. Protobuf maps are hash maps in Rust, so their entries come out in any order; here they are
//! sorted in the encoded bytes. So equal resources have equal bytes and equal versions.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use portolan_xds::{Resource, type_url};
use prost::{
    Message,
    bytes::Buf as _,
    encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint},
};

use crate::pb::Any;

/// Where maps are in a message: field numbers with what they hold.
pub(crate) type Shape = [(u32, Field)];

/// A field with maps in it.
pub(crate) enum Field {
    /// A map whose values (if messages with maps themselves) have this shape.
    Map(&'static Shape),
    /// A message, possibly repeated.
    Message(&'static Shape),
}

use Field::{Map, Message as Msg};

static STRUCT: [(u32, Field); 1] = [(1, Map(&STRUCT_ENTRY))];
static STRUCT_ENTRY: [(u32, Field); 1] = [(2, Msg(&VALUE))];
static VALUE: [(u32, Field); 2] = [(5, Msg(&STRUCT)), (6, Msg(&LIST))];
static LIST: [(u32, Field); 1] = [(1, Msg(&VALUE))];
/// `core.v3.Metadata`.
static METADATA: [(u32, Field); 2] = [(1, Map(&METADATA_ENTRY)), (2, Map(&[]))];
static METADATA_ENTRY: [(u32, Field); 1] = [(2, Msg(&STRUCT))];
static LB_ENDPOINT: [(u32, Field); 1] = [(3, Msg(&METADATA))];
static LOCALITY_ENDPOINTS: [(u32, Field); 1] = [(2, Msg(&LB_ENDPOINT))];
/// `endpoint.v3.ClusterLoadAssignment`.
static LOAD_ASSIGNMENT: [(u32, Field); 1] = [(2, Msg(&LOCALITY_ENDPOINTS))];
static SOCKET_MATCH: [(u32, Field); 1] = [(2, Msg(&STRUCT))];
/// `cluster.v3.Cluster`.
static CLUSTER: [(u32, Field); 4] =
    [(25, Msg(&METADATA)), (33, Msg(&LOAD_ASSIGNMENT)), (36, Map(&[])), (43, Msg(&SOCKET_MATCH))];
static ROUTE_ENTRY: [(u32, Field); 2] = [(4, Msg(&METADATA)), (13, Map(&[]))];
static VIRTUAL_HOST: [(u32, Field); 2] = [(3, Msg(&ROUTE_ENTRY)), (15, Map(&[]))];
/// `route.v3.RouteConfiguration`.
pub(crate) static ROUTE_CONFIGURATION: [(u32, Field); 1] = [(2, Msg(&VIRTUAL_HOST))];
/// `http_connection_manager.v3.HttpConnectionManager`: the inline route configuration.
pub(crate) static CONNECTION_MANAGER: [(u32, Field); 1] = [(4, Msg(&ROUTE_CONFIGURATION))];
static RULES: [(u32, Field); 1] = [(2, Map(&[]))];
/// `rbac.v3.RBAC` of both filters.
pub(crate) static RBAC: [(u32, Field); 1] = [(1, Msg(&RULES))];
static FILTER_CHAIN: [(u32, Field); 1] = [(5, Msg(&METADATA))];
/// `listener.v3.Listener`; configurations inside of `Any` are sorted when they are packed.
static LISTENER: [(u32, Field); 2] = [(3, Msg(&FILTER_CHAIN)), (6, Msg(&METADATA))];
/// `jwt_authn.v3.JwtAuthentication`.
pub(crate) static JWT: [(u32, Field); 1] = [(1, Map(&[]))];
/// `file.v3.FileAccessLog`: the JSON format.
pub(crate) static FILE_LOG: [(u32, Field); 1] = [(5, Msg(&LOG_FORMAT))];
static LOG_FORMAT: [(u32, Field); 1] = [(2, Msg(&STRUCT))];

/// Packs a message that has maps.
pub(crate) fn any_sorted<T: prost::Name + Message>(message: &T, shape: &'static Shape) -> Any {
    Any { type_url: T::type_url(), value: sort_maps(&message.encode_to_vec(), shape).into_owned() }
}

/// Encodes a resource; its version is a hash of the bytes.
pub(crate) fn resource<T: Message>(name: &str, url: &'static str, message: &T) -> Arc<Resource> {
    let shape: &'static Shape = match url {
        type_url::CLUSTER => &CLUSTER,
        type_url::ENDPOINT => &LOAD_ASSIGNMENT,
        type_url::ROUTE => &ROUTE_CONFIGURATION,
        type_url::LISTENER => &LISTENER,
        _ => &[],
    };
    let encoded = message.encode_to_vec();
    let body = match sort_maps(&encoded, shape) {
        Cow::Borrowed(_) => Bytes::from(encoded),
        Cow::Owned(sorted) => Bytes::from(sorted),
    };
    let version = twox_hash::XxHash3_128::oneshot(&body);
    Arc::new(Resource { name: name.into(), version: format!("{version:032x}").into(), type_url: url, body })
}

/// Copies an encoded message with the entries of its maps in order of their bytes. Bytes that are not as `shape` says
/// are copied as they are: the input is our own encoder's, this only has to be safe.
fn sort_maps<'a>(input: &'a [u8], shape: &'static Shape) -> Cow<'a, [u8]> {
    if shape.is_empty() {
        return Cow::Borrowed(input);
    }
    let mut out = Vec::with_capacity(input.len());
    // Entries of the map field that is being read: encoders write them next to each other.
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut entries_tag = 0;
    let mut rest = input;
    while !rest.is_empty() {
        let before = rest;
        let Some((tag, payload)) = next_field(&mut rest) else {
            flush(&mut out, &mut entries, entries_tag);
            out.extend_from_slice(before);
            return Cow::Owned(out);
        };
        let field = payload.and_then(|p| Some((shape.iter().find(|(t, _)| *t == tag)?, p)));
        if entries_tag != tag {
            flush(&mut out, &mut entries, entries_tag);
        }
        match field {
            Some(((_, Field::Map(inner)), payload)) => {
                entries_tag = tag;
                entries.push(sort_maps(payload, inner).into_owned());
            }
            Some(((_, Field::Message(inner)), payload)) => {
                put(&mut out, tag, &sort_maps(payload, inner));
            }
            None => out.extend_from_slice(&before[..before.len() - rest.len()]),
        }
    }
    flush(&mut out, &mut entries, entries_tag);
    Cow::Owned(out)
}

fn put(out: &mut Vec<u8>, tag: u32, payload: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

fn flush(out: &mut Vec<u8>, entries: &mut Vec<Vec<u8>>, tag: u32) {
    entries.sort();
    for entry in entries.drain(..) {
        put(out, tag, &entry);
    }
}

/// Reads one field: its number and, when length-delimited, its payload. `None` when the bytes are not protobuf.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let (tag, wire) = decode_key(rest).ok()?;
    match wire {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            Some((tag, None))
        }
        WireType::LengthDelimited => {
            let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let payload = rest.get(..len)?;
            *rest = &rest[len..];
            Some((tag, Some(payload)))
        }
        WireType::ThirtyTwoBit | WireType::SixtyFourBit => {
            let len = if wire == WireType::ThirtyTwoBit { 4 } else { 8 };
            (rest.len() >= len).then(|| rest.advance(len))?;
            Some((tag, None))
        }
        WireType::StartGroup | WireType::EndGroup => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::*;

    /// Maps with many entries come out the same every time, and decode to the same message.
    #[test]
    fn maps_are_sorted() {
        let metadata = || {
            let fields = (0..20).map(|i| (format!("k{i}"), text(format!("v{i}")))).collect();
            let inner = Struct { fields };
            let outer = (0..20).map(|i| (format!("f{i}"), inner.clone())).collect();
            core::Metadata { filter_metadata: outer, ..Default::default() }
        };
        let cluster = || cluster::Cluster {
            name: "x".to_owned(),
            metadata: Some(metadata()),
            lb_policy: 3,
            connect_timeout: zero(),
            ..Default::default()
        };
        let first = resource("x", type_url::CLUSTER, &cluster());
        for _ in 0..10 {
            let again = resource("x", type_url::CLUSTER, &cluster());
            assert_eq!(again.version, first.version);
        }
        assert_eq!(cluster::Cluster::decode(first.body.clone()).unwrap(), cluster());
    }
}
