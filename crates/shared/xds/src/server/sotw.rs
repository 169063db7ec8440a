//! State-of-the-world xDS: every request repeats the whole subscription, responses of the wildcard types repeat the
//! whole state.
//!
//! Source: Envoy's "xDS REST and gRPC protocol"; wildcard types are answered whole, as istiod does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{Answer, MAX_NAMES, Received, RequestError, stream::Stream, usable_name, wildcard_by_default};
use crate::{Resource, wire::SotwResponse};

/// The variant as a type.
#[derive(Debug)]
pub enum Sotw {}

/// One client's state-of-the-world stream.
pub type SotwStream = Stream<Sotw>;

impl Stream<Sotw> {
    /// Takes a request in. `respond` in the result says whether [`SotwStream::diff`] is due.
    pub fn on_request(&mut self, request: &DiscoveryRequest) -> Result<Received, RequestError> {
        let (type_url, first, state) = self.enter(&request.type_url)?;
        if request.resource_names.len() > MAX_NAMES {
            return Err(RequestError::TooManyNames(type_url));
        }
        let (answer, mut respond) = if first || request.response_nonce.is_empty() {
            // The start, or a reconnect with a nonce of another stream: the client gets everything.
            state.watch.wildcard = wildcard_by_default(&type_url)
                && (request.resource_names.is_empty() || request.resource_names.iter().any(|n| n == "*"));
            state.sent.clear();
            state.outstanding.clear();
            state.owed = true;
            (Answer::None, true)
        } else {
            let answer = state
                .answer(&request.response_nonce, request.error_detail.as_ref().map(|e| e.message.as_str()));
            if answer == Answer::Expired {
                return Ok(Received { type_url, answer, first, respond: false });
            }
            (answer, false)
        };

        let names: BTreeSet<Arc<str>> = request
            .resource_names
            .iter()
            .filter(|name| *name != "*" && usable_name(name))
            .map(|name| name.as_str().into())
            .collect();
        let refused = matches!(answer, Answer::Nack(_));
        if !refused && names != state.watch.names {
            respond |= names.iter().any(|name| !state.watch.names.contains(name));
            if !state.watch.wildcard {
                state.sent.retain(|name, _| names.contains(name));
            }
            state.watch.names = names;
        }
        if !state.watch.wildcard && state.watch.names.is_empty() {
            // Without names a type that is asked for by name is not watched.
            state.owed = false;
            respond = false;
        }
        Ok(Received { type_url, answer, first, respond })
    }

    /// Compares `current`, all resources of the type that this client watches and may see, with what it has been
    /// sent. Wildcard types are answered whole, others with what changed.
    pub fn diff(&mut self, type_url: &str, current: &[Arc<Resource>], version: &str) -> Option<SotwResponse> {
        let (key, _) = self.types.get_key_value(type_url)?;
        let key = key.clone();
        let state = self.types.get_mut(type_url)?;
        let watched: BTreeMap<&str, &Arc<Resource>> = current
            .iter()
            .filter(|r| state.watch.wildcard || state.watch.names.contains(&r.name))
            .map(|r| (&*r.name, r))
            .collect();
        let changed: Vec<&Arc<Resource>> = watched
            .values()
            .copied()
            .filter(|r| {
                state.sent.get(&r.name).is_none_or(|version| *version != r.version)
                    || state.resend.contains(&r.name)
            })
            .collect();
        let gone = state.sent.keys().any(|name| !watched.contains_key(&**name));
        let due = state.owed || !changed.is_empty() || (gone && state.watch.wildcard);
        let resources: Vec<Arc<Resource>> = if !due {
            Vec::new()
        } else if state.watch.wildcard {
            watched.values().copied().cloned().collect()
        } else {
            changed.into_iter().cloned().collect()
        };
        state.sent.retain(|name, _| watched.contains_key(&**name));
        if !due {
            state.resend.clear();
            return None;
        }
        for resource in &resources {
            state.sent.insert(resource.name.clone(), resource.version.clone());
        }
        let nonce = self.nonces.next();
        // A client answers only the newest response.
        state.outstanding.clear();
        state.sending(nonce.clone(), resources.iter().map(|r| r.name.clone()).collect());
        Some(SotwResponse { version: version.to_owned(), type_url: key, nonce, resources })
    }
}
