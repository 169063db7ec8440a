//! Filter chains: a listener with two chains of the same match is rejected as a whole.

use std::collections::HashSet;

use prost::Message;

use crate::pb::*;

/// Drops chains whose match is already taken. Server names that an earlier chain with otherwise the same match took are
/// taken out of later ones.
pub(crate) fn without_duplicates(chains: Vec<listener::FilterChain>) -> Vec<listener::FilterChain> {
    let mut taken: HashSet<(Vec<u8>, String)> = HashSet::new();
    let mut out = Vec::with_capacity(chains.len());
    for mut chain in chains {
        let mut rest = chain.filter_chain_match.clone().unwrap_or_default();
        let names = std::mem::take(&mut rest.server_names);
        let key = rest.encode_to_vec();
        if names.is_empty() {
            if taken.insert((key, String::new())) {
                out.push(chain);
            }
            continue;
        }
        let fresh: Vec<String> =
            names.into_iter().filter(|n| taken.insert((key.clone(), n.clone()))).collect();
        if fresh.is_empty() {
            continue;
        }
        if let Some(m) = &mut chain.filter_chain_match {
            m.server_names = fresh;
        }
        out.push(chain);
    }
    out
}
