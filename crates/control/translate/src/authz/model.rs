//! One rule as an RBAC policy: permissions from `to`, principals from `from`, conditions on either side.

use portolan_resources::security::{AuthorizationRule, Operation, Source};

use super::{
    combine::{all_permissions, all_principals, any_permission, not_permission, not_principal},
    conditions::{self, Side},
};
use crate::{context::Context, pb::*};

/// Collects what must hold at once. A field that only HTTP knows makes an ALLOW rule useless on TCP (it can never hold)
/// and is dropped from a DENY rule, which then denies more, not less.
struct Parts<T> {
    all: Vec<T>,
    /// The rule can never hold on TCP.
    impossible: bool,
    tcp: bool,
    deny: bool,
}

impl<T> Parts<T> {
    fn new(tcp: bool, deny: bool) -> Self {
        Self { all: Vec::new(), impossible: false, tcp, deny }
    }
    fn add(&mut self, values: &[String], http_only: bool, make: impl FnOnce(&[String]) -> T) {
        if values.is_empty() {
            return;
        }
        if http_only && self.tcp {
            self.impossible |= !self.deny;
            return;
        }
        self.all.push(make(values));
    }
}

/// The policy of a rule; `None` when it can never hold.
pub(super) fn policy(
    ctx: &Context<'_>,
    rule: &AuthorizationRule,
    deny: bool,
    tcp: bool,
) -> Option<rbac::Policy> {
    let mut permission_conditions = Parts::new(tcp, deny);
    let mut principal_conditions = Parts::new(tcp, deny);
    for when in &rule.when {
        let http_only = conditions::is_http_only(&when.key);
        // What cannot be expressed never allows, and denies whatever the rest of the rule covers.
        let Some(side) = conditions::side(&when.key) else {
            if deny {
                continue;
            }
            return None;
        };
        match side {
            Side::Permission => {
                permission_conditions.add(&when.values, http_only, |v| conditions::permissions(&when.key, v));
                permission_conditions.add(&when.not_values, http_only, |v| {
                    not_permission(conditions::permissions(&when.key, v))
                });
            }
            Side::Principal => {
                principal_conditions
                    .add(&when.values, http_only, |v| conditions::principals(ctx, &when.key, v));
                principal_conditions.add(&when.not_values, http_only, |v| {
                    not_principal(conditions::principals(ctx, &when.key, v))
                });
            }
        }
    }
    if permission_conditions.impossible || principal_conditions.impossible {
        return None;
    }
    let operations: Vec<Option<rbac::Permission>> = rule
        .to
        .iter()
        .filter_map(|to| to.operation.as_ref())
        .map(|o| operation(o, &permission_conditions.all, deny, tcp))
        .collect();
    let sources: Vec<Option<rbac::Principal>> = rule
        .from
        .iter()
        .filter_map(|from| from.source.as_ref())
        .map(|s| source(ctx, s, &principal_conditions.all, deny, tcp))
        .collect();
    let permissions: Vec<_> = if operations.is_empty() {
        vec![all_permissions(permission_conditions.all)]
    } else {
        operations.into_iter().flatten().collect()
    };
    let principals: Vec<_> = if sources.is_empty() {
        vec![all_principals(principal_conditions.all)]
    } else {
        sources.into_iter().flatten().collect()
    };
    if permissions.is_empty() || principals.is_empty() {
        return None;
    }
    Some(rbac::Policy { permissions, principals, ..Default::default() })
}

fn operation(
    o: &Operation,
    conditions: &[rbac::Permission],
    deny: bool,
    tcp: bool,
) -> Option<rbac::Permission> {
    let mut parts = Parts::new(tcp, deny);
    let header = |name: &'static str| {
        move |values: &[String]| {
            any_permission(values.iter().map(|v| conditions::header_permission(name, v)).collect())
        }
    };
    let hosts = |values: &[String]| any_permission(values.iter().flat_map(|v| conditions::host(v)).collect());
    let paths = |values: &[String]| any_permission(values.iter().map(|v| conditions::path(v)).collect());
    let ports = |values: &[String]| conditions::permissions("destination.port", values);
    parts.add(&o.hosts, true, hosts);
    parts.add(&o.not_hosts, true, |v| not_permission(hosts(v)));
    parts.add(&o.methods, true, header(":method"));
    parts.add(&o.not_methods, true, |v| not_permission(header(":method")(v)));
    parts.add(&o.paths, true, paths);
    parts.add(&o.not_paths, true, |v| not_permission(paths(v)));
    parts.add(&o.ports, false, ports);
    parts.add(&o.not_ports, false, |v| not_permission(ports(v)));
    if parts.impossible {
        return None;
    }
    parts.all.extend_from_slice(conditions);
    Some(all_permissions(parts.all))
}

fn source(
    ctx: &Context<'_>,
    s: &Source,
    conditions: &[rbac::Principal],
    deny: bool,
    tcp: bool,
) -> Option<rbac::Principal> {
    let mut parts = Parts::new(tcp, deny);
    let of = |key: &'static str| move |values: &[String]| conditions::principals(ctx, key, values);
    for (key, http_only, values, not_values) in [
        ("source.principal", false, &s.principals, &s.not_principals),
        ("request.auth.principal", true, &s.request_principals, &s.not_request_principals),
        ("source.namespace", false, &s.namespaces, &s.not_namespaces),
        ("source.ip", false, &s.ip_blocks, &s.not_ip_blocks),
        ("remote.ip", false, &s.remote_ip_blocks, &s.not_remote_ip_blocks),
    ] {
        parts.add(values, http_only, of(key));
        parts.add(not_values, http_only, |v| not_principal(of(key)(v)));
    }
    if parts.impossible {
        return None;
    }
    parts.all.extend_from_slice(conditions);
    Some(all_principals(parts.all))
}
