//! The transport's messages in the form that both ends need: bodies of resources stay shared bytes.
//!
//! What a server sends ([`DeltaResponse`], [`SotwResponse`]) is written straight from the encoded resources, one copy
//! into the frame and no second encoding. What a client receives ([`DeltaDiscoveryResponse`]) holds slices of the
//! received message.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use portolan_envoy_api::pb::{envoy::config::core::v3::Node, google::rpc::Status};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{Resource, Version};

/// `google.protobuf.Any` whose value is shared.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Type of the value.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// One resource of a delta response.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaResource {
    /// Version that the server gave it.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The resource.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// Name that it was subscribed by.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse` as a client reads it.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaDiscoveryResponse {
    /// For people; means nothing to the protocol.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// New and changed resources.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<DeltaResource>,
    /// Type of all resources here.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// To be repeated in the answer.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names that are gone, or never were.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest` as a server reads it.
#[derive(Clone, PartialEq, Message)]
pub struct DeltaRequest {
    /// Who asks; in the first request only.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// The type that is asked for.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names that are wanted from now on.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names that are not wanted any longer.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client has from another stream; a map on the wire.
    #[prost(message, repeated, tag = "5")]
    pub initial_resource_versions: Vec<Stated>,
    /// The response that is answered.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why it is refused, if it is.
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// What a client says that it has: a name, and the version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The resource.
    pub name: String,
    /// Its version; [`Version::UNKNOWN`] where the text is none of ours.
    pub version: Version,
}

impl Default for Stated {
    fn default() -> Self {
        Self { name: String::new(), version: Version::UNKNOWN }
    }
}

/// Versions are read as they come: a client that comes back states thousands.
impl Message for Stated {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        write_text(1, &self.name, buf);
        write_head(2, Version::TEXT_LENGTH, buf);
        buf.put_slice(&self.version.digits());
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => encoding::string::merge(wire_type, &mut self.name, buf, ctx),
            2 => {
                let mut text = String::new();
                encoding::string::merge(wire_type, &mut text, buf, ctx)?;
                self.version = Version::parse(&text).unwrap_or(Version::UNKNOWN);
                Ok(())
            }
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        text_len(1, &self.name) + field_len(2, Version::TEXT_LENGTH)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A delta response as a server writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeltaResponse {
    /// For people; means nothing to the protocol.
    pub system_version: String,
    /// Type of all resources here.
    pub type_url: Arc<str>,
    /// To be repeated in the answer.
    pub nonce: String,
    /// New and changed resources.
    pub resources: Vec<Arc<Resource>>,
    /// Names that are gone, or never were.
    pub removed: Vec<Arc<str>>,
}

/// A state-of-the-world response as a server writes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SotwResponse {
    /// Version of the whole answer.
    pub version: String,
    /// Type of all resources here.
    pub type_url: Arc<str>,
    /// To be repeated in the answer.
    pub nonce: String,
    /// For wildcard types everything, otherwise what changed.
    pub resources: Vec<Arc<Resource>>,
}

/// A message that can write itself into a frame.
pub trait WriteMessage: Send + 'static {
    /// Bytes that [`WriteMessage::write`] will write.
    fn len(&self) -> usize;
    /// Whether nothing would be written.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Writes the message in protobuf's wire format.
    fn write(&self, buf: &mut impl BufMut) {
        let mut part = 0;
        while self.write_part(part, buf) {
            part += 1;
        }
    }
    /// Writes one part of it; false, and nothing is written, where there are no more. Parts are counted from 0 and written
    /// one after the other make the message, so that a long one need not be in memory as a whole.
    fn write_part(&self, part: usize, buf: &mut impl BufMut) -> bool;
}

/// Messages of others write themselves as prost does.
impl<M: Message + 'static> WriteMessage for M {
    fn len(&self) -> usize {
        self.encoded_len()
    }

    fn write_part(&self, part: usize, buf: &mut impl BufMut) -> bool {
        if part == 0 {
            self.encode_raw(buf);
        }
        part == 0
    }
}

impl WriteMessage for DeltaResponse {
    fn len(&self) -> usize {
        let resources: usize = self.resources.iter().map(|r| field_len(2, delta_resource_len(r))).sum();
        let removed: usize = self.removed.iter().map(|name| field_len(6, name.len())).sum();
        text_len(1, &self.system_version)
            + resources
            + text_len(4, &self.type_url)
            + text_len(5, &self.nonce)
            + removed
    }

    fn write_part(&self, part: usize, buf: &mut impl BufMut) -> bool {
        if part == 0 {
            write_text(1, &self.system_version, buf);
            return true;
        }
        if let Some(resource) = self.resources.get(part - 1) {
            write_head(2, delta_resource_len(resource), buf);
            write_head(1, Version::TEXT_LENGTH, buf);
            buf.put_slice(&resource.version.digits());
            write_any(2, resource, buf);
            write_text(3, &resource.name, buf);
            return true;
        }
        if part > self.resources.len() + 1 {
            return false;
        }
        write_text(4, &self.type_url, buf);
        write_text(5, &self.nonce, buf);
        for name in &self.removed {
            write_head(6, name.len(), buf);
            buf.put_slice(name.as_bytes());
        }
        true
    }
}

impl WriteMessage for SotwResponse {
    fn len(&self) -> usize {
        let resources: usize = self.resources.iter().map(|r| field_len(2, any_len(r))).sum();
        text_len(1, &self.version) + resources + text_len(4, &self.type_url) + text_len(5, &self.nonce)
    }

    fn write_part(&self, part: usize, buf: &mut impl BufMut) -> bool {
        if part == 0 {
            write_text(1, &self.version, buf);
            return true;
        }
        if let Some(resource) = self.resources.get(part - 1) {
            write_any(2, resource, buf);
            return true;
        }
        if part > self.resources.len() + 1 {
            return false;
        }
        write_text(4, &self.type_url, buf);
        write_text(5, &self.nonce, buf);
        true
    }
}

fn delta_resource_len(resource: &Resource) -> usize {
    field_len(1, Version::TEXT_LENGTH) + field_len(2, any_len(resource)) + text_len(3, &resource.name)
}

fn any_len(resource: &Resource) -> usize {
    let body = resource.body.len();
    text_len(1, resource.type_url) + if body == 0 { 0 } else { field_len(2, body) }
}

fn write_any(tag: u32, resource: &Resource, buf: &mut impl BufMut) {
    write_head(tag, any_len(resource), buf);
    write_text(1, resource.type_url, buf);
    if !resource.body.is_empty() {
        write_head(2, resource.body.len(), buf);
        buf.put_slice(&resource.body);
    }
}

/// Length of a length-delimited field with its head.
fn field_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// Proto3 leaves empty strings out.
fn text_len(tag: u32, text: &str) -> usize {
    if text.is_empty() { 0 } else { field_len(tag, text.len()) }
}

fn write_head(tag: u32, length: usize, buf: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(length as u64, buf);
}

fn write_text(tag: u32, text: &str, buf: &mut impl BufMut) {
    if !text.is_empty() {
        write_head(tag, text.len(), buf);
        buf.put_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::resource;

    #[test]
    fn delta_response_reads_back() {
        let response = DeltaResponse {
            system_version: "7".into(),
            type_url: crate::type_url::CLUSTER.into(),
            nonce: "n1".into(),
            resources: vec![resource("a", "1"), resource("b", "")],
            removed: vec!["gone".into()],
        };
        let mut bytes = Vec::new();
        response.write(&mut bytes);
        assert_eq!(bytes.len(), response.len());

        let read = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        assert_eq!(read.system_version_info, "7");
        assert_eq!(read.resources.len(), 2);
        assert_eq!(read.resources[0].name, "a");
        assert_eq!(read.resources[0].version, response.resources[0].version.to_string());
        assert_eq!(read.resources[0].resource.as_ref().unwrap().value, response.resources[0].body);
        assert_eq!(read.removed_resources, ["gone"]);

        // The generated type agrees.
        let read = portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse::decode(
            bytes.as_slice(),
        )
        .unwrap();
        assert_eq!(read.nonce, "n1");
        assert_eq!(read.resources[1].name, "b");
        assert_eq!(read.type_url, crate::type_url::CLUSTER);
    }

    #[test]
    fn sotw_response_reads_back() {
        let response = SotwResponse {
            version: "7".into(),
            type_url: crate::type_url::LISTENER.into(),
            nonce: "n".into(),
            resources: vec![resource("a", "1")],
        };
        let mut bytes = Vec::new();
        response.write(&mut bytes);
        assert_eq!(bytes.len(), response.len());
        let read = portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryResponse::decode(
            bytes.as_slice(),
        )
        .unwrap();
        assert_eq!(read.version_info, "7");
        assert_eq!(read.resources[0].value, response.resources[0].body);
    }

    #[test]
    fn a_request_is_read_as_the_generated_type_is() {
        use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
        let version = resource("a", "1").version;
        let sent = DeltaDiscoveryRequest {
            node: Some(Node { id: "sidecar".into(), ..Node::default() }),
            type_url: "t".into(),
            resource_names_subscribe: vec!["a".into(), "*".into()],
            resource_names_unsubscribe: vec!["b".into()],
            initial_resource_versions: [
                ("a".to_owned(), version.to_string()),
                ("b".to_owned(), "7".to_owned()),
            ]
            .into(),
            response_nonce: "n".into(),
            error_detail: Some(Status { code: 3, message: "no".into(), details: Vec::new() }),
            ..Default::default()
        };
        let mut read = DeltaRequest::decode(&*sent.encode_to_vec()).unwrap();
        read.initial_resource_versions.sort_by(|a, b| a.name.cmp(&b.name));
        let stated = |name: &str, version| Stated { name: name.to_owned(), version };
        let expected = DeltaRequest {
            node: sent.node,
            type_url: sent.type_url,
            resource_names_subscribe: sent.resource_names_subscribe,
            resource_names_unsubscribe: sent.resource_names_unsubscribe,
            initial_resource_versions: vec![stated("a", version), stated("b", Version::UNKNOWN)],
            response_nonce: sent.response_nonce,
            error_detail: sent.error_detail,
        };
        assert_eq!(read, expected);
        assert_eq!(DeltaRequest::decode(&*expected.encode_to_vec()).unwrap(), expected);
        assert_eq!(expected.encode_to_vec().len(), expected.encoded_len());
    }

    fn written(message: &impl WriteMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        assert_eq!(bytes.len(), message.len());
        assert_eq!(bytes.is_empty(), message.is_empty());
        bytes
    }

    fn sized(name: &str, body: usize) -> Arc<Resource> {
        Arc::new(Resource::new(name, crate::type_url::CLUSTER, vec![7; body].into()))
    }

    /// Lengths that take one, two and three bytes, and fields that are left out.
    #[test]
    fn what_is_written_is_what_prost_writes() {
        use portolan_envoy_api::pb::{envoy::service::discovery::v3 as pb, google::protobuf::Any as PbAny};
        for (text, body) in [("", 0), ("x", 1), ("x", 127), ("x", 128), ("x", 16_384)] {
            let long = text.repeat(200);
            let resources = vec![sized(text, body), sized(&long, body)];
            let any = |r: &Arc<Resource>| PbAny { type_url: r.type_url.to_owned(), value: r.body.to_vec() };
            let delta = DeltaResponse {
                system_version: text.to_owned(),
                type_url: text.into(),
                nonce: long.clone(),
                resources: resources.clone(),
                removed: vec![text.into(), long.as_str().into()],
            };
            let of_prost = pb::DeltaDiscoveryResponse {
                system_version_info: text.to_owned(),
                type_url: text.to_owned(),
                nonce: long.clone(),
                resources: resources
                    .iter()
                    .map(|r| pb::Resource {
                        name: r.name.to_string(),
                        version: r.version.to_string(),
                        resource: Some(any(r)),
                        ..Default::default()
                    })
                    .collect(),
                removed_resources: vec![text.to_owned(), long.clone()],
                ..Default::default()
            };
            assert_eq!(
                pb::DeltaDiscoveryResponse::decode(&*written(&delta)).unwrap(),
                of_prost,
                "{text} {body}"
            );
            assert_eq!(written(&delta).len(), written(&of_prost).len());
            let sotw = SotwResponse {
                version: text.to_owned(),
                type_url: text.into(),
                nonce: long.clone(),
                resources: resources.clone(),
            };
            let of_prost = pb::DiscoveryResponse {
                version_info: text.to_owned(),
                type_url: text.to_owned(),
                nonce: long,
                resources: resources.iter().map(any).collect(),
                ..Default::default()
            };
            assert_eq!(pb::DiscoveryResponse::decode(&*written(&sotw)).unwrap(), of_prost, "{text} {body}");
            assert_eq!(written(&sotw).len(), written(&of_prost).len());
        }
    }

    #[test]
    fn nothing_is_written_for_an_empty_message() {
        assert!(written(&DeltaResponse::default()).is_empty());
        assert!(written(&SotwResponse::default()).is_empty());
        assert!(written(&DeltaDiscoveryResponse::default()).is_empty());
    }
}
