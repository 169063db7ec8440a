//! VirtualServices with full names and their delegates merged in (Istio: VirtualService, delegate).

use std::sync::Arc;

use portolan_derive::{Derived, Reader};
use portolan_names::names::MESH_GATEWAY;
use portolan_resources::{VirtualService, networking::VirtualServiceSpec};

use crate::{
    export_to::Visibility,
    facts::{Fact, Origin, VirtualServiceFact},
    host::resolve_short_name,
    object::{ConfigMeta, ObjectKey, Resolved},
    settings,
};

/// A VirtualService whose short names are full and whose delegates are merged in.
pub type ResolvedVirtualService = Resolved<VirtualServiceSpec>;

/// Makes the names in a VirtualService full.
pub(crate) fn resolve(
    object: &Arc<VirtualService>,
    domain: &str,
    default_export: &[String],
) -> ResolvedVirtualService {
    let mut meta = ConfigMeta::of(&object.metadata);
    let ns = meta.key.namespace.clone();
    let mut spec = object.spec.clone();
    meta.visibility = Visibility::parse(&spec.export_to, &ns, default_export);
    let full = |host: &mut String| *host = resolve_short_name(host, &ns, domain);
    spec.hosts.iter_mut().for_each(full);
    for route in &mut spec.http {
        route.route.iter_mut().filter_map(|r| r.destination.as_mut()).for_each(|d| full(&mut d.host));
        if let Some(mirror) = &mut route.mirror {
            full(&mut mirror.host);
        }
    }
    let tls = spec.tls.iter_mut().flat_map(|r| &mut r.route);
    let tcp = spec.tcp.iter_mut().flat_map(|r| &mut r.route);
    tls.chain(tcp).filter_map(|r| r.destination.as_mut()).for_each(|d| full(&mut d.host));
    let gateway = |name: &mut String| {
        if name != MESH_GATEWAY && !name.contains('/') {
            *name = format!("{ns}/{name}");
        }
    };
    spec.gateways.iter_mut().for_each(gateway);
    spec.http.iter_mut().flat_map(|r| &mut r.match_).flat_map(|m| &mut m.gateways).for_each(gateway);
    spec.tls.iter_mut().flat_map(|r| &mut r.match_).flat_map(|m| &mut m.gateways).for_each(gateway);
    spec.tcp.iter_mut().flat_map(|r| &mut r.match_).flat_map(|m| &mut m.gateways).for_each(gateway);
    if spec.gateways.is_empty() {
        spec.gateways.push(MESH_GATEWAY.to_owned());
    }
    Resolved { meta, spec }
}

/// A VirtualService with full names; delegates are not merged in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Named(VirtualServiceFact);

impl Derived for Named {
    type Value = Option<Arc<ResolvedVirtualService>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let object = read.fact(&self.0)?;
        let cluster = settings::cluster(read);
        Some(Arc::new(resolve(&object, &cluster.domain, &settings::virtual_service_export(read))))
    }
}

/// A VirtualService with its delegates merged in (Istio 1.9 reference, Virtual Service): the root's match is put before
/// each of the delegate's. A delegate that is missing or delegates further takes its rule with it; other rules stay.
/// Nothing for one that is a delegate itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Merged(VirtualServiceFact);

impl Derived for Merged {
    type Value = Option<Arc<ResolvedVirtualService>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let mut root = read.get(&Named(self.0.clone()))?;
        if root.spec.hosts.is_empty() {
            return None;
        }
        if root.spec.http.iter().any(|rule| rule.delegate.is_some()) {
            let root = Arc::make_mut(&mut root);
            merge_delegates(root, |key| {
                let of = |origin| read.get(&Named(VirtualServiceFact::of(origin, key.clone())));
                [Origin::Cluster, Origin::Federation].into_iter().find_map(of)
            });
        }
        Some(root)
    }
}

/// All VirtualServices, oldest first, delegates merged in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VirtualServices;

impl Derived for VirtualServices {
    type Value = Arc<[Arc<ResolvedVirtualService>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let keys = read.keys::<VirtualServiceFact>();
        let mut all: Vec<_> = keys.iter().filter_map(|key| read.get(&Merged(key.clone()))).collect();
        all.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        all.into()
    }
}

/// The hosts of all destinations of a VirtualService.
pub(crate) fn destinations(vs: &ResolvedVirtualService) -> impl Iterator<Item = &str> {
    let http = vs
        .spec
        .http
        .iter()
        .flat_map(|r| r.route.iter().filter_map(|d| d.destination.as_ref()).chain(r.mirror.as_ref()));
    let tcp = vs.spec.tcp.iter().flat_map(|r| &r.route).chain(vs.spec.tls.iter().flat_map(|r| &r.route));
    http.chain(tcp.filter_map(|d| d.destination.as_ref())).map(|d| d.host.as_str())
}

fn merge_delegates(
    root: &mut ResolvedVirtualService,
    find: impl Fn(&ObjectKey) -> Option<Arc<ResolvedVirtualService>>,
) {
    let namespace = root.meta.key.namespace.clone();
    let mut merged = Vec::new();
    for rule in std::mem::take(&mut root.spec.http) {
        let Some(reference) = &rule.delegate else {
            merged.push(rule);
            continue;
        };
        let ns = reference.namespace.as_deref().unwrap_or(&namespace);
        let key = ObjectKey::new(ns, reference.name.as_deref().unwrap_or_default());
        let delegate =
            find(&key).filter(|d| d.spec.hosts.is_empty() && d.meta.visibility.includes(&namespace));
        for inner in delegate.iter().flat_map(|d| &d.spec.http).filter(|r| r.delegate.is_none()) {
            let mut combined = inner.clone();
            combined.match_ = combine_matches(&rule.match_, &inner.match_);
            if combined.match_.is_empty() && !(rule.match_.is_empty() && inner.match_.is_empty()) {
                continue;
            }
            merged.push(combined);
        }
    }
    root.spec.http = merged;
}

type HttpMatch = portolan_resources::networking::HttpMatchRequest;

/// Every pair of root and delegate conditions that do not name the same attribute twice.
fn combine_matches(root: &[HttpMatch], delegate: &[HttpMatch]) -> Vec<HttpMatch> {
    if root.is_empty() {
        return delegate.to_vec();
    }
    if delegate.is_empty() {
        return root.to_vec();
    }
    root.iter().flat_map(|r| delegate.iter().filter_map(move |d| combine(r, d))).collect()
}

fn combine(root: &HttpMatch, delegate: &HttpMatch) -> Option<HttpMatch> {
    let mut out = root.clone();
    macro_rules! take {
        ($($field:ident),*) => {$(
            match (&out.$field, &delegate.$field) {
                (None, Some(v)) => out.$field = Some(v.clone()),
                (Some(mine), Some(theirs)) if !implies(mine, theirs) => return None,
                (Some(_), Some(theirs)) => out.$field = Some(theirs.clone()),
                _ => {}
            }
        )*};
    }
    fn implies<T: PartialEq + Covers>(root: &T, delegate: &T) -> bool {
        root == delegate || root.covers(delegate)
    }
    take!(uri, scheme, method, authority, port, source_namespace);
    out.headers.extend(delegate.headers.clone());
    out.without_headers.extend(delegate.without_headers.clone());
    out.query_params.extend(delegate.query_params.clone());
    out.source_labels.extend(delegate.source_labels.clone());
    out.ignore_uri_case |= delegate.ignore_uri_case;
    if out.name.is_none() {
        out.name.clone_from(&delegate.name);
    }
    Some(out)
}

/// Whether a root's condition includes a delegate's narrower one; most kinds of conditions only include their equals.
trait Covers {
    fn covers(&self, _narrower: &Self) -> bool {
        false
    }
}
impl Covers for portolan_resources::networking::StringMatch {
    fn covers(&self, narrower: &Self) -> bool {
        let Some(prefix) = &self.prefix else { return false };
        let text = narrower.exact.as_ref().or(narrower.prefix.as_ref());
        text.is_some_and(|t| t.starts_with(prefix.as_str()))
    }
}
impl Covers for u32 {}
impl Covers for String {}
