//! Facts, and the sets of keys by which they are found.

use std::{collections::BTreeSet, marker::PhantomData, sync::Arc};

use crate::{
    Input,
    node::{self, Graph, Node},
};

/// All keys of one kind of facts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct AllKeys<I>(PhantomData<fn() -> I>);

impl<I> AllKeys<I> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// The keys of the facts of one kind that have a mark.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Tagged<I: Input>(pub(crate) I::Tag);

/// What both hold.
pub(crate) type Keys<I> = Arc<BTreeSet<I>>;

/// The operations of facts.
pub(crate) struct Ops<I>(PhantomData<I>);

impl<I: Input> Ops<I> {
    pub(crate) const VALUE: node::Ops =
        node::Ops { kept: |node| node.value.is_some(), ..node::Ops::fact::<I>() };
    pub(crate) const ALL: node::Ops = node::Ops { kept: has_keys::<I>, ..node::Ops::fact::<AllKeys<I>>() };
    pub(crate) const TAGGED: node::Ops = node::Ops { kept: has_keys::<I>, ..node::Ops::fact::<Tagged<I>>() };
}

fn has_keys<I: Input>(node: &Node) -> bool {
    node.value.as_ref().and_then(|v| v.downcast_ref::<Keys<I>>()).is_some_and(|keys| !keys.is_empty())
}

/// Puts a key into a set or takes it out.
pub(crate) fn list<I: Input, K: crate::Key>(
    graph: &mut Graph,
    set: &K,
    ops: &'static node::Ops,
    key: &I,
    listed: bool,
) {
    let id = graph.enter(set, ops);
    let Some(node) = graph.get_mut(id) else { return };
    // Taken out and put back, so that the set is not copied while nobody else has it.
    let held = node.value.take().and_then(|value| value.downcast::<Keys<I>>().ok());
    let mut keys = held.map(|value| *value).unwrap_or_default();
    let members = Arc::make_mut(&mut keys);
    let differs = if listed { members.insert(key.clone()) } else { members.remove(key) };
    node.value = Some(Box::new(keys));
    if differs {
        graph.announce(id);
    }
    graph.loose.push(id);
}
