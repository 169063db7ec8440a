//! Resources are run through the data plane's own compiler before they are published. What our proxies would refuse is not
//! sent: the last good version stays, and everything else goes on.

use std::sync::Arc;

use portolan_dataplane_config::Kind;
use portolan_envoy_api::pb::envoy::config::cluster::v3::Cluster;
use portolan_translate::Made;
use portolan_xds::Resource;
use prost::Message;

use super::{
    isolate::{self, isolate},
    source::Source,
};

/// Something that is not published as it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Type of the resource.
    pub type_url: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// What of it is not published; empty when that is all of it.
    pub part: Arc<str>,
    /// What the data plane has against it.
    pub reason: Arc<str>,
    /// The object that asked for it, if that is known.
    pub source: Option<Source>,
}

/// What is published of `now` when `before` was published: good resources; of others the parts that are good, with what was
/// there before, or what answers for it, in the place of the others; and where that cannot be, the version from before, if
/// there was one.
pub(super) fn vet(before: &[Arc<Resource>], now: Made) -> (Made, Vec<Refusal>) {
    let refused = |resource: &&Arc<Resource>| resource.judged(judge).is_err();
    if !now.resources.iter().any(|resource| refused(&resource)) {
        return (now, Vec::new());
    }
    let mut refusals = Vec::new();
    let mut published = Vec::new();
    for resource in now.resources.iter() {
        let Err(reason) = resource.judged(judge) else {
            published.push(resource.clone());
            continue;
        };
        let same = |r: &&Arc<Resource>| r.type_url == resource.type_url && r.name == resource.name;
        let before = before.iter().find(same);
        let refusal = |part: &str, reason: Arc<str>, source| Refusal {
            type_url: resource.type_url,
            name: resource.name.clone(),
            part: part.into(),
            reason,
            source,
        };
        let mended = Kind::of_type_url(resource.type_url)
            .and_then(|kind| isolate(kind, &resource.body, before.map(|before| &*before.body)));
        if let Some((body, faults)) = mended {
            published.push(Arc::new(Resource::new(resource.name.clone(), resource.type_url, body.into())));
            refusals.extend(faults.into_iter().map(|f| refusal(&f.part, f.reason.into(), f.source)));
        } else {
            published.extend(before.cloned());
            let source = source_of(resource).or_else(|| Source::of_policy(&reason));
            refusals.push(refusal("", reason, source));
        }
    }
    (Made { resources: published.into(), ..now }, refusals)
}

/// Types that the data plane does not run on are good.
fn judge(resource: &Resource) -> Result<(), String> {
    let refusal =
        Kind::of_type_url(resource.type_url).and_then(|kind| isolate::refusal(kind, &resource.body));
    refusal.map_or(Ok(()), Err)
}

/// The object that a resource as a whole comes from.
fn source_of(resource: &Resource) -> Option<Source> {
    if Kind::of_type_url(resource.type_url)? != Kind::Cluster {
        return None;
    }
    Source::of_metadata(Cluster::decode(resource.body.clone()).ok()?.metadata.as_ref())
}

#[cfg(test)]
mod tests {
    use portolan_envoy_api::pb::envoy::config::route::v3::RouteConfiguration;
    use portolan_xds::type_url;
    use prost::Message;

    use super::*;

    fn routes(name: &str, vhosts: &[&str]) -> Arc<Resource> {
        let host = |name: &&str| portolan_envoy_api::pb::envoy::config::route::v3::VirtualHost {
            name: (*name).to_owned(),
            domains: vec!["*".to_owned()],
            ..Default::default()
        };
        let made = RouteConfiguration {
            name: name.to_owned(),
            virtual_hosts: vhosts.iter().map(host).collect(),
            ..Default::default()
        };
        Arc::new(Resource::new(name, type_url::ROUTE, made.encode_to_vec().into()))
    }

    #[test]
    fn what_would_be_refused_is_not_published_and_takes_nothing_with_it() {
        let (good, other) = (routes("a", &["x"]), routes("b", &["x"]));
        // One domain in two virtual hosts.
        let bad = routes("a", &["x", "y"]);
        let made = |all: &[Arc<Resource>]| Made { resources: all.into(), ..Made::default() };
        let (published, refusals) = vet(&[], made(&[good.clone(), other.clone()]));
        assert_eq!((&published.resources[..], refusals.len()), (&[good.clone(), other.clone()][..], 0));
        let (published, refusals) = vet(&published.resources, made(&[bad.clone(), other.clone()]));
        assert_eq!(&published.resources[..], [good.clone(), other.clone()]);
        assert_eq!((&*refusals[0].name, refusals[0].type_url), ("a", type_url::ROUTE));
        assert!(refusals[0].reason.contains("domain"), "{}", refusals[0].reason);
        let (published, _) = vet(&[], made(&[bad, other.clone()]));
        assert_eq!(&published.resources[..], [other], "nothing good to stay with");
    }
}
