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

use crate::wire::DeltaResponse;

fn request(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() }
}

fn ask(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    let resource_names_subscribe = names.iter().map(|n| (*n).to_owned()).collect();
    DeltaDiscoveryRequest { resource_names_subscribe, ..request(type_url) }
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
