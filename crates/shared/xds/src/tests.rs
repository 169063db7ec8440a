//! Each end by itself, and both against each other.

mod by_change;
mod client;
mod delta;
mod game;
mod sotw;
mod sotw_client;
mod sotw_game;

use std::sync::Arc;

use portolan_envoy_api::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    google::rpc,
};
use prost::Message as _;

use crate::{
    Version,
    wire::{DeltaRequest, DeltaResponse, Stated},
};

/// What a server reads of what a client sends.
fn received(request: &DeltaDiscoveryRequest) -> DeltaRequest {
    DeltaRequest::decode(&*request.encode_to_vec()).unwrap()
}

fn request(type_url: &str) -> DeltaRequest {
    DeltaRequest { type_url: type_url.into(), ..Default::default() }
}

fn ask(type_url: &str, names: &[&str]) -> DeltaRequest {
    let resource_names_subscribe = names.iter().map(|n| (*n).to_owned()).collect();
    DeltaRequest { resource_names_subscribe, ..request(type_url) }
}

/// What a client says that it has: names, and texts of versions.
fn stated<'a>(versions: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Stated> {
    let parse = |text| Version::parse(text).unwrap_or(Version::UNKNOWN);
    versions.into_iter().map(|(name, text)| Stated { name: name.to_owned(), version: parse(text) }).collect()
}

fn sotw(type_url: &str, names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.into(),
        resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
        response_nonce: nonce.into(),
        ..Default::default()
    }
}

fn refusal(text: &str) -> Option<rpc::Status> {
    Some(rpc::Status { code: 3, message: text.into(), details: vec![] })
}

/// All names of the tests: any of them may have changed.
fn anything() -> Vec<Arc<str>> {
    ["80", "81", "a", "b", "c", "key", "x", "y", "z"].map(Into::into).into()
}

fn names(response: &DeltaResponse) -> (Vec<&str>, Vec<&str>) {
    (response.resources.iter().map(|r| &*r.name).collect(), response.removed.iter().map(|n| &**n).collect())
}
