//! State-of-the-world xDS: every request repeats the whole subscription, responses of the wildcard types repeat the
//! whole state.
//!
//! Source: Envoy's "xDS REST and gRPC protocol"; spec/istio.md 2.3 for how istiod answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{
    Answer, MAX_NAMES, MAX_OUTSTANDING, MAX_TYPES, Received, RequestError, Status, Watch, sort_by_push_order,
    usable_name, watch::TypeState, wildcard_by_default,
};
use crate::{Resource, wire::SotwResponse};

/// One client's state-of-the-world stream.
#[derive(Debug)]
pub struct SotwStream {
    types: BTreeMap<Arc<str>, TypeState>,
    nonce_prefix: String,
    responses: u64,
}

impl SotwStream {
    /// A stream that has seen nothing yet; see [`super::DeltaStream::new`].
    pub fn new(nonce_prefix: impl Into<String>) -> Self {
        Self { types: BTreeMap::new(), nonce_prefix: nonce_prefix.into(), responses: 0 }
    }

    /// Takes a request in. `respond` in the result says whether [`SotwStream::diff`] is due.
    pub fn on_request(&mut self, request: &DiscoveryRequest) -> Result<Received, RequestError> {
        if request.type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        let first = !self.types.contains_key(request.type_url.as_str());
        if first && self.types.len() >= MAX_TYPES {
            return Err(RequestError::TooManyTypes);
        }
        let type_url: Arc<str> = request.type_url.as_str().into();
        if request.resource_names.len() > MAX_NAMES {
            return Err(RequestError::TooManyNames(type_url));
        }
        let state = self.types.entry(type_url.clone()).or_default();
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

    /// What the client watches of a type; nothing when it never asked.
    pub fn watch(&self, type_url: &str) -> Option<&Watch> {
        self.types.get(type_url).map(|state| &state.watch)
    }

    /// All types that the client watches, in the order in which changes have to be sent.
    pub fn types(&self) -> Vec<Arc<str>> {
        let mut types: Vec<_> = self.types.keys().cloned().collect();
        sort_by_push_order(&mut types);
        types
    }

    /// Whether the last response is still unanswered; see [`super::DeltaStream::blocked`].
    pub fn blocked(&self, type_url: &str) -> bool {
        self.types.get(type_url).is_some_and(|state| !state.outstanding.is_empty())
    }

    /// Whether so many responses are unanswered that nothing more may be sent.
    pub fn full(&self, type_url: &str) -> bool {
        self.types.get(type_url).is_some_and(|state| state.outstanding.len() >= MAX_OUTSTANDING)
    }

    /// See [`super::DeltaStream::resend`].
    pub fn resend<'a>(&mut self, type_url: &str, names: impl IntoIterator<Item = &'a str>) -> bool {
        let Some(state) = self.types.get_mut(type_url) else { return false };
        let mut any = false;
        for name in names {
            if state.watch.names.contains(name) && state.sent.contains_key(name) {
                state.resend.insert(name.into());
                any = true;
            }
        }
        any
    }

    /// The version of a resource that the client was sent last.
    pub fn sent_version(&self, type_url: &str, name: &str) -> Option<&Arc<str>> {
        self.types.get(type_url).and_then(|state| state.sent.get(name))
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
        self.responses += 1;
        let nonce = format!("{}{}", self.nonce_prefix, self.responses);
        // A client answers only the newest response.
        state.outstanding.clear();
        state.sending(nonce.clone(), resources.iter().map(|r| r.name.clone()).collect());
        Some(SotwResponse { version: version.to_owned(), type_url: key, nonce, resources })
    }

    /// How far the client is with a type.
    pub fn status(&self, type_url: &str) -> Option<Status> {
        self.types.get(type_url).map(TypeState::status)
    }
}
