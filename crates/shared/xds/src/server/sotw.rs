//! State-of-the-world xDS: every request repeats the whole subscription, responses of the wildcard types repeat the
//! whole state.
//!
//! Source: Envoy's "xDS REST and gRPC protocol"; wildcard types are answered whole, as istiod does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{
    Answer, MAX_NAMES, Received, RequestError, Source, compare::Difference, stream::Stream, usable_name,
    watch::TypeState, wildcard_by_default,
};
use crate::{Resource, wire::SotwResponse};

/// The variant as a type.
#[derive(Debug)]
pub enum Sotw {}

/// One client's state-of-the-world stream.
pub type SotwStream = Stream<Sotw>;

impl Stream<Sotw> {
    /// Takes a request in. `respond` in the result says whether [`SotwStream::respond`] is due.
    pub fn on_request(&mut self, request: DiscoveryRequest) -> Result<Received, RequestError> {
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
            state.whole = true;
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

        let names = request.resource_names.iter().map(String::as_str);
        let names: BTreeSet<&str> = names.filter(|name| *name != "*" && usable_name(name)).collect();
        let refused = matches!(answer, Answer::Nack(_));
        if !refused && !names.iter().copied().eq(state.watch.names.iter().map(|name| &**name)) {
            respond |= rename(state, &names);
        }
        if !state.watch.wildcard && state.watch.names.is_empty() {
            // Without names a type that is asked for by name is not watched.
            state.owed = false;
            respond = false;
        }
        Ok(Received { type_url, answer, first, respond })
    }

    /// What the client is owed after a request: names that it has newly asked for, at the cost of these; everything, when
    /// that is what it asked for. Returns the response to send, or nothing when the client has it all.
    pub fn respond(&mut self, type_url: &str, source: &dyn Source, version: &str) -> Option<SotwResponse> {
        self.send(type_url, &[], false, source, version)
    }

    /// What a change means to the client, at the cost of the change; only a wildcard type that has changed is sent whole.
    /// `changed` are the names that may have come, changed or gone; some may be named twice, or for nothing. Includes what
    /// [`SotwStream::respond`] would say.
    pub fn update(
        &mut self,
        type_url: &str,
        changed: &[Arc<str>],
        source: &dyn Source,
        version: &str,
    ) -> Option<SotwResponse> {
        self.send(type_url, changed, false, source, version)
    }

    /// Compares everything that the client watches with what it has been sent, for when it is not known what has changed.
    pub fn resync(&mut self, type_url: &str, source: &dyn Source, version: &str) -> Option<SotwResponse> {
        self.send(type_url, &[], true, source, version)
    }

    fn send(
        &mut self,
        type_url: &str,
        changed: &[Arc<str>],
        whole: bool,
        source: &dyn Source,
        version: &str,
    ) -> Option<SotwResponse> {
        let key = self.types.get_key_value(type_url)?.0.clone();
        let state = self.types.get_mut(type_url)?;
        let wildcard = state.watch.wildcard;
        let Difference { upserts, gone, .. } = state.compare(changed, whole, source);
        // Absence means something only where everything is sent.
        let due = state.owed || !upserts.is_empty() || (wildcard && !gone.is_empty());
        if !due {
            return None;
        }
        let mut by_name: BTreeMap<Arc<str>, Arc<Resource>> = BTreeMap::new();
        let mut include = |resource: &Arc<Resource>| {
            by_name.entry(resource.name.clone()).or_insert_with(|| resource.clone());
        };
        if wildcard {
            source.all(&mut include);
            state.sent.clear();
        } else {
            upserts.iter().for_each(include);
        }
        let resources: Vec<Arc<Resource>> = by_name.into_values().collect();
        resources.iter().for_each(|resource| state.sent.put(resource.revision()));
        let nonce = self.nonces.next();
        // A client answers only the newest response.
        state.outstanding.clear();
        state.sending(nonce.clone(), resources.iter().map(|r| r.name.clone()).collect());
        Some(SotwResponse { version: version.to_owned(), type_url: key, nonce, resources })
    }
}

/// Watches these names instead of others. Returns whether there are new ones among them.
fn rename(state: &mut TypeState, names: &BTreeSet<&str>) -> bool {
    let mut watched = BTreeSet::new();
    let mut new = Vec::new();
    for name in names {
        let known = state.watch.names.get(*name).cloned();
        let name: Arc<str> = known.unwrap_or_else(|| {
            let name: Arc<str> = (*name).into();
            new.push(name.clone());
            name
        });
        watched.insert(name);
    }
    state.watch.names = Arc::new(watched);
    if !state.watch.wildcard {
        state.sent.retain(|name| names.contains(name));
        state.resend.retain(|name| names.contains(&**name));
        state.resend.extend(new.iter().cloned());
    }
    !new.is_empty()
}
