//! Resources are run through the data plane's own compiler before they are published. What our proxies would refuse is not
//! sent: the last good version stays, and everything else goes on.

use std::sync::Arc;

use portolan_dataplane_config::{Kind, check};
use portolan_translate::Made;
use portolan_xds::Resource;

/// A resource that is not published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Its type.
    pub type_url: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// What the data plane has against it.
    pub reason: Arc<str>,
}

/// What is published of `now` when `before` was published: good resources, and for others the version from before, if there
/// was one.
pub(super) fn vet(before: &[Arc<Resource>], now: Made) -> (Made, Vec<Refusal>) {
    let refused = |resource: &&Arc<Resource>| resource.judged(judge).is_err();
    if !now.resources.iter().any(|resource| refused(&resource)) {
        return (now, Vec::new());
    }
    let mut refusals = Vec::new();
    let mut published = Vec::new();
    for resource in now.resources.iter() {
        match resource.judged(judge) {
            Ok(()) => published.push(resource.clone()),
            Err(reason) => {
                let same = |r: &&Arc<Resource>| r.type_url == resource.type_url && r.name == resource.name;
                published.extend(before.iter().find(same).cloned());
                refusals.push(Refusal { type_url: resource.type_url, name: resource.name.clone(), reason });
            }
        }
    }
    (Made { resources: published.into(), ..now }, refusals)
}

/// Types that the data plane does not run on are good.
fn judge(resource: &Resource) -> Result<(), String> {
    match Kind::of_type_url(resource.type_url) {
        Some(kind) => check(kind, &resource.body).map(drop).map_err(|error| error.0),
        None => Ok(()),
    }
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
