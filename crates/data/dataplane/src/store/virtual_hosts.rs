//! Virtual hosts that come as resources of their own (VHDS).
//!
//! A response is applied whole and only then looked at: a domain may leave one host for another in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::api::{ConfigUpdate, Rejection, ResourceKind, Upsert};
use super::handle::{State, tell};
use super::raw::Raw;
use crate::external::load;
use crate::pb::route;
use crate::route::{HostChanges, VirtualHost, hosts::resource_name};
use crate::value::{Invalid, Valid};
use portolan_dataplane_config::ignored;

/// `RouteConfiguration.virtual_hosts`.
const VIRTUAL_HOSTS_FIELD: u32 = 2;

impl State {
    /// Takes a response over. Returns what is refused.
    pub(super) fn apply_virtual_hosts(&mut self, update: &ConfigUpdate) -> Vec<Rejection> {
        let mut refused: BTreeMap<String, String> = BTreeMap::new();
        let mut changes: BTreeMap<&str, HostChanges> = BTreeMap::new();
        for name in &update.removed {
            self.raw.remove(update.kind, name);
            if let Ok((config, host)) = resource_name(name) {
                changes.entry(config).or_default().removed.insert(host.into());
            }
        }
        let news: Vec<&Upsert> =
            update.upserts.iter().filter(|upsert| !self.raw.holds(update.kind, upsert)).collect();
        for upsert in &news {
            match compile(upsert) {
                Ok((config, host, compiled)) => {
                    changes.entry(config).or_default().changed.insert(host.into(), compiled);
                }
                Err(Invalid(reason)) => {
                    refused.insert(upsert.name.clone(), reason);
                }
            }
        }
        for (config, changes) in changes {
            let refusals = self.routes.update_hosts(config, changes);
            refused.extend(refusals.into_iter().map(|(host, why)| (format!("{config}/{host}"), why.0)));
        }
        for upsert in news {
            match refused.get(&upsert.name) {
                None => self.raw.accept(update, upsert),
                Some(reason) => self.raw.refuse(update.kind, upsert, reason),
            }
        }
        refused.into_iter().map(|(name, reason)| Rejection { name, reason }).collect()
    }

    /// Virtual hosts of a route configuration that came as resources of their own, as they came, by name.
    pub(super) fn virtual_hosts(&self, config: &str) -> impl Iterator<Item = (&str, &Raw)> {
        let wanted = self.routes.has_vhds(config);
        self.raw.below(ResourceKind::VirtualHost, format!("{config}/")).filter(move |_| wanted)
    }
}

/// The message of a route configuration with further virtual hosts in it. Encoded messages that follow each other are
/// one message, in which repeated fields are joined (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>).
pub(super) fn with_hosts<'a>(config: &[u8], hosts: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = config.to_vec();
    for host in hosts {
        encode_key(VIRTUAL_HOSTS_FIELD, WireType::LengthDelimited, &mut out);
        encode_varint(host.len() as u64, &mut out);
        out.extend_from_slice(host);
    }
    out
}

/// The name of the route configuration and the host's own, and the host.
fn compile(upsert: &Upsert) -> Valid<(&str, &str, Arc<VirtualHost>)> {
    let (config, name) = resource_name(&upsert.name)?;
    let message = route::VirtualHost::decode(upsert.body.clone())
        .map_err(|error| Invalid(format!("cannot decode: {error}")))?;
    // Envoy's own servers name the message like the resource, those that split a table keep the name that it has there.
    if message.name != name && message.name != upsert.name {
        return Err(Invalid(format!("the message is named {:?}", message.name)));
    }
    tell(upsert, ignored::of_virtual_host(&message));
    Ok((config, name, Arc::new(VirtualHost::compile(&message, load)?)))
}
