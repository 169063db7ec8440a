//! A route configuration apart from virtual hosts that travel by themselves (VHDS), and the table that both make.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::HeaderName;

use super::compile::header_name;
use super::domain::Domain;
use super::mutation::Mutations;
use super::table::{RouteTable, VirtualHost};
use crate::ignored::refuse_routes;
use crate::pb::{core, route};
use crate::value::{At as _, Invalid, Loader, Valid};

/// A compiled route configuration.
#[derive(Debug)]
pub struct RouteConfig {
    /// Those in the message.
    hosts: Vec<Arc<VirtualHost>>,
    /// Whether others come as resources of their own.
    vhds: bool,
    /// What is taken for those others.
    domains: HashSet<Domain>,
    ignore_port: bool,
    most_specific_wins: bool,
    mutations: Arc<Mutations>,
    internal_only: Arc<[HeaderName]>,
}

impl RouteConfig {
    /// Compiles a route configuration.
    ///
    /// # Errors
    /// When it is not usable, with the field and the reason.
    pub fn compile(from: &route::RouteConfiguration, load: Loader) -> Valid<RouteConfig> {
        refuse_routes(from)?;
        from.vhds.as_ref().map_or(Ok(()), over_ads).at("vhds")?;
        let mut hosts = Vec::with_capacity(from.virtual_hosts.len());
        let mut domains = HashSet::new();
        for host in &from.virtual_hosts {
            let field = format!("virtual host {:?}", host.name);
            let host = VirtualHost::compile(host, load).at(&field)?;
            for domain in &host.domains {
                if !domains.insert(domain.clone()) {
                    return Err(Invalid(format!("{field}: domain {domain:?} is listed twice")));
                }
            }
            hosts.push(Arc::new(host));
        }
        let vhds = from.vhds.is_some();
        if !vhds {
            domains = HashSet::new();
        }
        Ok(RouteConfig {
            hosts,
            vhds,
            domains,
            ignore_port: from.ignore_port_in_host_matching,
            most_specific_wins: from.most_specific_header_mutations_wins,
            mutations: Arc::new(Mutations::compile(
                &from.request_headers_to_add,
                &from.request_headers_to_remove,
                &from.response_headers_to_add,
                &from.response_headers_to_remove,
            )?),
            internal_only: from
                .internal_only_headers
                .iter()
                .map(|name| header_name(name))
                .collect::<Valid<_>>()?,
        })
    }

    /// Whether further virtual hosts come as resources of their own.
    pub fn has_vhds(&self) -> bool {
        self.vhds
    }

    /// Whether a virtual host in the message has this domain. Known only where others may come.
    pub(super) fn has(&self, domain: &Domain) -> bool {
        self.domains.contains(domain)
    }

    /// Puts the table together from the virtual hosts in the message and `more`, which are shared and not compiled
    /// again. Of two hosts with one domain the first has it, and those in the message come first.
    pub fn table<'a>(&'a self, more: impl IntoIterator<Item = &'a Arc<VirtualHost>>) -> RouteTable {
        let hosts: Vec<Arc<VirtualHost>> = self.hosts.iter().chain(more).cloned().collect();
        let mut exact = HashMap::with_capacity(hosts.iter().map(|host| host.domains.len()).sum());
        let (mut suffixes, mut prefixes, mut any) = (Vec::new(), Vec::new(), None);
        for (at, host) in hosts.iter().enumerate() {
            for domain in &host.domains {
                match domain {
                    Domain::Exact(text) => {
                        exact.entry(text.clone()).or_insert(at);
                    }
                    Domain::Suffix(text) => suffixes.push((text.clone(), at)),
                    Domain::Prefix(text) => prefixes.push((text.clone(), at)),
                    Domain::Any => {
                        any.get_or_insert(at);
                    }
                }
            }
        }
        // Stable: among equals the first host stays the first, and is the one that is found.
        suffixes.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        prefixes.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        RouteTable {
            hosts,
            exact,
            suffixes,
            prefixes,
            any,
            ignore_port: self.ignore_port,
            mutations: self.mutations.clone(),
            most_specific_wins: self.most_specific_wins,
            internal_only: self.internal_only.clone(),
        }
    }
}

impl RouteTable {
    /// Compiles a route configuration that stands in a listener, and so has all of its virtual hosts in it.
    ///
    /// # Errors
    /// When it is not usable, with the field and the reason.
    pub fn compile(from: &route::RouteConfiguration, load: Loader) -> Valid<RouteTable> {
        let config = RouteConfig::compile(from, load)?;
        if config.vhds {
            return Err(Invalid::new("vhds works only in route configurations that come by RDS"));
        }
        Ok(config.table([]))
    }
}

/// Virtual hosts come on the stream that the route configuration came on.
fn over_ads(vhds: &route::Vhds) -> Valid<()> {
    let source = vhds.config_source.as_ref().and_then(|source| source.config_source_specifier.as_ref());
    match source {
        Some(core::config_source::ConfigSourceSpecifier::Ads(_)) => Ok(()),
        _ => Err(Invalid::new("config_source: only ads is supported")),
    }
}
