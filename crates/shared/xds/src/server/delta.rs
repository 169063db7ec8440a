//! Delta xDS: the client says what it has and wants, the server sends differences.
//!
//! Source: Envoy's "xDS REST and gRPC protocol", section "Incremental xDS".

use std::{collections::BTreeMap, collections::HashSet, sync::Arc};

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use super::{
    Answer, MAX_NAMES, MAX_OUTSTANDING, MAX_TYPES, Received, RequestError, Status, Watch, sort_by_push_order,
    usable_name, watch::TypeState, wildcard_by_default,
};
use crate::{Resource, wire::DeltaResponse};

/// One client's delta stream.
#[derive(Debug)]
pub struct DeltaStream {
    types: BTreeMap<Arc<str>, TypeState>,
    nonce_prefix: String,
    responses: u64,
}

impl DeltaStream {
    /// A stream that has seen nothing yet. Nonces start with `nonce_prefix`, which is to be different for each
    /// stream, so that an answer that belongs to another stream is recognised.
    pub fn new(nonce_prefix: impl Into<String>) -> Self {
        Self { types: BTreeMap::new(), nonce_prefix: nonce_prefix.into(), responses: 0 }
    }

    /// Takes a request in. `respond` in the result says whether [`DeltaStream::diff`] is due.
    pub fn on_request(&mut self, request: &DeltaDiscoveryRequest) -> Result<Received, RequestError> {
        if request.type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        let first = !self.types.contains_key(request.type_url.as_str());
        if first && self.types.len() >= MAX_TYPES {
            return Err(RequestError::TooManyTypes);
        }
        let type_url: Arc<str> = match self.types.get_key_value(request.type_url.as_str()) {
            Some((known, _)) => known.clone(),
            None => request.type_url.as_str().into(),
        };
        let state = self.types.entry(type_url.clone()).or_default();
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

    /// Whether a change is better held back because the client has not answered an earlier response yet. Holding back
    /// merges changes for a slow client; a caller that has waited long enough sends all the same, until
    /// [`MAX_OUTSTANDING`].
    pub fn blocked(&self, type_url: &str) -> bool {
        self.types.get(type_url).is_some_and(|state| !state.outstanding.is_empty())
    }

    /// Whether so many responses are unanswered that nothing more may be sent.
    pub fn full(&self, type_url: &str) -> bool {
        self.types.get(type_url).is_some_and(|state| state.outstanding.len() >= MAX_OUTSTANDING)
    }

    /// Has these resources sent again with the next response, if the client watches them. A changed cluster needs
    /// its endpoints again: Envoy warms the new cluster with the next assignment that arrives.
    /// Returns whether there are any such.
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
        self.responses += 1;
        let nonce = format!("{}{}", self.nonce_prefix, self.responses);
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

    /// How far the client is with a type.
    pub fn status(&self, type_url: &str) -> Option<Status> {
        self.types.get(type_url).map(TypeState::status)
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
