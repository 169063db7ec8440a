//! The two variants of the protocol behind one interface, for [`super::XdsClient`].

use std::collections::BTreeSet;

use portolan_envoy_api::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse,
};
use portolan_xds::client::{DeltaClient, Rejection, ResponseError, Update, Upsert};
use portolan_xds::sotw_client::{SotwClient, SotwUpdate};
use portolan_xds::type_url::VIRTUAL_HOST;
use portolan_xds::wire::DeltaDiscoveryResponse;
use portolan_xds_grpc::ADS;

/// A protocol state machine that outlives its streams.
pub(super) trait Machine: Send {
    /// What is sent.
    type Request: prost::Message + 'static;
    /// What is received.
    type Response: prost::Message + Default + 'static;
    /// A response, checked.
    type Update: Send;
    /// Path of the gRPC method.
    const PATH: &'static str;
    /// Whether virtual hosts come as resources of their own (VHDS). Envoy has that for delta streams only.
    const VHDS: bool;

    /// Requests that open a stream.
    fn connected(&mut self) -> Vec<Self::Request>;
    /// The stream is gone.
    fn disconnected(&mut self);
    /// Makes the subscription by name exactly `names`.
    fn set_names(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<Self::Request>;
    /// Subscribes to all virtual hosts, or gives them up; then none is held any more.
    fn set_virtual_hosts(&mut self, wanted: bool) -> Option<Self::Request>;
    /// Names of accepted resources.
    fn held(&self, type_url: &str) -> Vec<String>;
    /// Takes a response in.
    fn on_response(&mut self, response: Self::Response) -> Result<Self::Update, ResponseError>;
    /// Type, changes and removals of an update.
    fn changes(update: &Self::Update) -> (&str, &[Upsert], &[String]);
    /// Concludes an update with an ACK or NACK.
    fn finish(&mut self, update: &Self::Update, rejected: &[Rejection]) -> Option<Self::Request>;
}

impl Machine for DeltaClient {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    type Update = Update;
    const PATH: &'static str = ADS.delta;
    const VHDS: bool = true;

    fn connected(&mut self) -> Vec<Self::Request> {
        self.connected()
    }

    fn disconnected(&mut self) {
        self.disconnected();
    }

    fn set_names(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<Self::Request> {
        self.set_names(type_url, names)
    }

    fn set_virtual_hosts(&mut self, wanted: bool) -> Option<Self::Request> {
        match wanted {
            true => self.subscribe_all(VIRTUAL_HOST),
            false => self.unsubscribe_all(VIRTUAL_HOST),
        }
    }

    fn held(&self, type_url: &str) -> Vec<String> {
        self.held(type_url).map(|held| held.keys().cloned().collect()).unwrap_or_default()
    }

    fn on_response(&mut self, response: Self::Response) -> Result<Self::Update, ResponseError> {
        self.on_response(response)
    }

    fn changes(update: &Self::Update) -> (&str, &[Upsert], &[String]) {
        (&update.type_url, &update.upserts, &update.removed)
    }

    fn finish(&mut self, update: &Self::Update, rejected: &[Rejection]) -> Option<Self::Request> {
        self.finish(update, rejected)
    }
}

impl Machine for SotwClient {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    type Update = SotwUpdate;
    const PATH: &'static str = ADS.sotw;
    const VHDS: bool = false;

    fn connected(&mut self) -> Vec<Self::Request> {
        self.connected()
    }

    fn disconnected(&mut self) {
        self.disconnected();
    }

    fn set_names(&mut self, type_url: &str, names: BTreeSet<String>) -> Option<Self::Request> {
        self.set_names(type_url, names)
    }

    fn set_virtual_hosts(&mut self, wanted: bool) -> Option<Self::Request> {
        if !wanted {
            // Left from delta streams.
            self.forget(VIRTUAL_HOST);
        }
        None
    }

    fn held(&self, type_url: &str) -> Vec<String> {
        self.held(type_url).map(str::to_owned).collect()
    }

    fn on_response(&mut self, response: Self::Response) -> Result<Self::Update, ResponseError> {
        self.on_response(response)
    }

    fn changes(update: &Self::Update) -> (&str, &[Upsert], &[String]) {
        (&update.type_url, &update.upserts, &update.removed)
    }

    fn finish(&mut self, update: &Self::Update, rejected: &[Rejection]) -> Option<Self::Request> {
        self.finish(update, rejected)
    }
}
