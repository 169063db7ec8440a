//! Delta xDS: the client says what it has and wants, the server sends differences.
//!
//! Source: Envoy's "xDS REST and gRPC protocol", section "Incremental xDS".

use std::sync::Arc;

use super::{
    Answer, MAX_NAMES, Received, RequestError, Source, compare::Difference, stream::Stream, usable_name,
    watch::TypeState, wildcard_by_default,
};
use crate::wire::{DeltaRequest, DeltaResponse};

/// The variant as a type.
#[derive(Debug)]
pub enum Delta {}

/// One client's delta stream.
pub type DeltaStream = Stream<Delta>;

impl Stream<Delta> {
    /// Takes a request in. `respond` in the result says whether [`DeltaStream::respond`] is due.
    pub fn on_request(&mut self, request: DeltaRequest) -> Result<Received, RequestError> {
        let (type_url, first, state) = self.enter(&request.type_url)?;
        let mut respond = false;

        let answer = if first {
            // A nonce here is left over from another stream.
            let explicit_wildcard = request.resource_names_subscribe.iter().any(|name| name == "*");
            state.watch.wildcard = wildcard_by_default(&type_url)
                && (request.resource_names_subscribe.is_empty() || explicit_wildcard);
            state.stated = request.initial_resource_versions;
            state.stated.truncate(MAX_NAMES);
            state.stated.retain(|stated| usable_name(&stated.name));
            state.whole = true;
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
                state.expect_outstanding();
                state.whole = true;
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
            state.watch.add(name);
            respond = true;
        }
        if state.watch.names.len() > MAX_NAMES || state.resend.len() > MAX_NAMES {
            return Err(RequestError::TooManyNames(type_url));
        }
        if first && !state.watch.wildcard {
            // What is not asked for is not ours to take back.
            let names = &state.watch.names;
            state.stated.retain(|stated| names.contains(&*stated.name));
            // A client that comes back hears that it is up to date, and so do those who look at its status.
            state.owed = !state.stated.is_empty();
        }
        Ok(Received { type_url, answer, first, respond })
    }

    /// What the client is owed after a request: what it has newly asked for, at the cost of that; everything, when that is
    /// what it asked for. Returns the response to send, or nothing when the client has it all.
    pub fn respond(
        &mut self,
        type_url: &str,
        source: &dyn Source,
        system_version: &str,
    ) -> Option<DeltaResponse> {
        self.send(type_url, &[], false, source, system_version)
    }

    /// What a change means to the client, at the cost of the change. `changed` are the names that may have come, changed or
    /// gone; some may be named twice, or for nothing. Includes what [`DeltaStream::respond`] would say.
    pub fn update(
        &mut self,
        type_url: &str,
        changed: &[Arc<str>],
        source: &dyn Source,
        system_version: &str,
    ) -> Option<DeltaResponse> {
        self.send(type_url, changed, false, source, system_version)
    }

    /// Compares everything that the client watches with what it has been sent, for when it is not known what has changed.
    pub fn resync(
        &mut self,
        type_url: &str,
        source: &dyn Source,
        system_version: &str,
    ) -> Option<DeltaResponse> {
        self.send(type_url, &[], true, source, system_version)
    }

    fn send(
        &mut self,
        type_url: &str,
        changed: &[Arc<str>],
        whole: bool,
        source: &dyn Source,
        system_version: &str,
    ) -> Option<DeltaResponse> {
        let key = self.types.get_key_value(type_url)?.0.clone();
        let state = self.types.get_mut(type_url)?;
        let Difference { upserts, gone: mut removed, missing } = state.compare(changed, whole, source);
        removed.extend(missing.into_iter().filter(|name| !state.absent.contains(name)));
        if upserts.is_empty() && removed.is_empty() && !state.owed {
            return None;
        }
        removed.sort();
        // Who names it twice has it found missing twice.
        removed.dedup();
        for resource in &upserts {
            state.absent.remove(&resource.name);
        }
        state.absent.extend(removed.iter().filter(|name| state.watch.names.contains(*name)).cloned());
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
        state.sent.retain(|name| names.contains(name));
        state.stated.retain(|stated| names.contains(&*stated.name));
        return false;
    }
    if !state.watch.remove(name) {
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
        state.stated.retain(|stated| stated.name != name);
        false
    }
}
