//! What both variants of the protocol have in common: the types that one client watches, and how far it is with each.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc};

use super::{MAX_OUTSTANDING, MAX_TYPES, RequestError, Status, Watch, sort_by_push_order, watch::TypeState};

/// One client's stream; [`super::DeltaStream`] and [`super::SotwStream`] are its two variants.
#[derive(Debug)]
pub struct Stream<V> {
    pub(super) types: BTreeMap<Arc<str>, TypeState>,
    pub(super) nonces: Nonces,
    variant: PhantomData<V>,
}

/// Makes the nonces of one stream.
#[derive(Debug)]
pub(super) struct Nonces {
    prefix: String,
    made: u64,
}

impl Nonces {
    pub(super) fn next(&mut self) -> String {
        self.made += 1;
        format!("{}{}", self.prefix, self.made)
    }
}

impl<V> Stream<V> {
    /// A stream that has seen nothing yet. Nonces start with `nonce_prefix`, which is to be different for each
    /// stream, so that an answer that belongs to another stream is recognised.
    pub fn new(nonce_prefix: impl Into<String>) -> Self {
        let nonces = Nonces { prefix: nonce_prefix.into(), made: 0 };
        Self { types: BTreeMap::new(), nonces, variant: PhantomData }
    }

    /// The state of the type that a request is about, and whether this is the first request for it.
    pub(super) fn enter(&mut self, type_url: &str) -> Result<(Arc<str>, bool, &mut TypeState), RequestError> {
        if type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        let known = self.types.get_key_value(type_url).map(|(known, _)| known.clone());
        let first = known.is_none();
        if first && self.types.len() >= MAX_TYPES {
            return Err(RequestError::TooManyTypes);
        }
        let type_url = known.unwrap_or_else(|| type_url.into());
        let state = self.types.entry(type_url.clone()).or_default();
        Ok((type_url, first, state))
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
            if state.watch.names.contains(name) && state.sent.contains(name) {
                state.resend.insert(name.into());
                any = true;
            }
        }
        any
    }

    /// How far the client is with a type.
    pub fn status(&self, type_url: &str) -> Option<Status> {
        self.types.get(type_url).map(TypeState::status)
    }
}
