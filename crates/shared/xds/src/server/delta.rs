//! Delta xDS: the client says what it has and wants, the server sends differences.
//!
//! Source: Envoy's "xDS REST and gRPC protocol", section "Incremental xDS".

use std::{collections::HashSet, sync::Arc};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{
    Answer, MAX_NAMES, Received, RequestError, stream::Stream, usable_name, watch::TypeState,
    wildcard_by_default,
};
use crate::{Resource, wire::DeltaResponse};

/// The variant as a type.
#[derive(Debug)]
pub enum Delta {}

/// One client's delta stream.
pub type DeltaStream = Stream<Delta>;

impl Stream<Delta> {
    /// Takes a request in. `respond` in the result says whether [`DeltaStream::diff`] is due.
    pub fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<Received, RequestError> {
        let (type_url, first, state) = self.enter(&request.type_url)?;
        let mut respond = false;

        let answer = if first {
            // A nonce here is left over from another stream.
            let explicit_wildcard = request.resource_names_subscribe.iter().any(|name| name == "*");
            state.watch.wildcard = wildcard_by_default(&type_url)
                && (request.resource_names_subscribe.is_empty() || explicit_wildcard);
            for (name, version) in request.initial_resource_versions.iter().take(MAX_NAMES) {
                if usable_name(name) {
                    state.sent.insert(name.as_str().into(), version.as_str().into());
                }
            }
            if state.watch.wildcard {
                // Even an empty answer lets the client finish its start.
                state.owed = true;
                respond = true;
            }
            Answer::None
        } else {
            if request.resource_names_subscribe.iter().any(|name| name == "*")
                && wildcard_by_default(&type_url)
                && !state.watch.wildcard
            {
                state.watch.wildcard = true;
                state.owed = true;
                respond = true;
            }
            state.answer(&request.response_nonce, request.error_detail.as_ref().map(|e| e.message.as_str()))
        };

        for name in &request.resource_names_unsubscribe {
            respond |= unsubscribe(state, name);
        }
        for name in request.resource_names_subscribe.iter().filter(|n| *n != "*" && usable_name(n)) {
            let name: Arc<str> = name.as_str().into();
            // Asking for a name again means that the client has dropped it. At the start of a stream the versions
            // that came along say what it has.
            if !first {
                state.resend.insert(name.clone());
                state.absent.remove(&name);
            }
            state.watch.names.insert(name);
            respond = true;
        }
        if state.watch.names.len() > MAX_NAMES {
            return Err(RequestError::TooManyNames(type_url));
        }
        if first && !state.watch.wildcard {
            // What is not asked for is not ours to take back.
            let names = &state.watch.names;
            state.sent.retain(|name, _| names.contains(name));
            // A client that comes back hears that it is up to date, and so do those who look at its status.
            state.owed = !state.sent.is_empty();
        }
        Ok(Received { type_url, answer, first, respond })
    }

    /// Compares `current`, all resources of the type that this client watches and may see, with what it has been
    /// sent. Returns the response to send, or nothing when the client has it all.
    pub fn diff(
        &mut self,
        type_url: &str,
        current: &[Arc<Resource>],
        system_version: &str,
    ) -> Option<DeltaResponse> {
        let (key, _) = self.types.get_key_value(type_url)?;
        let key = key.clone();
        let state = self.types.get_mut(type_url)?;
        let mut present: HashSet<&str> = HashSet::with_capacity(current.len());
        let mut upserts = Vec::new();
        for resource in current {
            if !state.watch.wildcard && !state.watch.names.contains(&resource.name) {
                continue;
            }
            if !present.insert(&resource.name) {
                continue;
            }
            let known = state.sent.get(&resource.name).is_some_and(|version| *version == resource.version);
            if !known || state.resend.contains(&resource.name) {
                upserts.push(resource.clone());
            }
        }
        let mut removed: Vec<Arc<str>> =
            state.sent.keys().filter(|name| !present.contains(&***name)).cloned().collect();
        removed.extend(
            state
                .watch
                .names
                .iter()
                .filter(|name| {
                    !present.contains(&***name)
                        && !state.absent.contains(*name)
                        && !state.sent.contains_key(*name)
                })
                .cloned(),
        );
        removed.sort();
        if upserts.is_empty() && removed.is_empty() && !state.owed {
            state.resend.clear();
            return None;
        }

        for resource in &upserts {
            state.sent.insert(resource.name.clone(), resource.version.clone());
            state.absent.remove(&resource.name);
        }
        for name in &removed {
            state.sent.remove(name);
            if state.watch.names.contains(name) {
                state.absent.insert(name.clone());
            }
        }
        let nonce = self.nonces.next();
        let names = upserts.iter().map(|r| r.name.clone()).chain(removed.iter().cloned()).collect();
        state.sending(nonce.clone(), names);
        Some(DeltaResponse {
            system_version: system_version.to_owned(),
            type_url: key,
            nonce,
            resources: upserts,
            removed,
        })
    }
}

/// Returns whether the client has to be told something because of it.
fn unsubscribe(state: &mut TypeState, name: &str) -> bool {
    if name == "*" {
        state.watch.wildcard = false;
        let names = &state.watch.names;
        state.sent.retain(|name, _| names.contains(name));
        return false;
    }
    if !state.watch.names.remove(name) {
        return false;
    }
    state.resend.remove(name);
    state.absent.remove(name);
    if state.watch.wildcard {
        // The wildcard may still cover it: the client drops it now and needs it again, or learns that it is gone.
        state.resend.insert(name.into());
        true
    } else {
        state.sent.remove(name);
        false
    }
}
