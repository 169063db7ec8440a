//! Permissions and principals put together: all of, any of, none of.

use crate::pb::*;

pub(super) fn permission(rule: rbac::permission::Rule) -> rbac::Permission {
    rbac::Permission { rule: Some(rule) }
}

pub(super) fn principal(identifier: rbac::principal::Identifier) -> rbac::Principal {
    rbac::Principal { identifier: Some(identifier) }
}

pub(super) fn all_permissions(mut rules: Vec<rbac::Permission>) -> rbac::Permission {
    match rules.len() {
        0 => permission(rbac::permission::Rule::Any(true)),
        1 => rules.remove(0),
        _ => permission(rbac::permission::Rule::AndRules(rbac::permission::Set { rules })),
    }
}

pub(super) fn any_permission(mut rules: Vec<rbac::Permission>) -> rbac::Permission {
    if rules.len() == 1 {
        return rules.remove(0);
    }
    permission(rbac::permission::Rule::OrRules(rbac::permission::Set { rules }))
}

pub(super) fn all_principals(mut ids: Vec<rbac::Principal>) -> rbac::Principal {
    match ids.len() {
        0 => principal(rbac::principal::Identifier::Any(true)),
        1 => ids.remove(0),
        _ => principal(rbac::principal::Identifier::AndIds(rbac::principal::Set { ids })),
    }
}

pub(super) fn any_principal(mut ids: Vec<rbac::Principal>) -> rbac::Principal {
    if ids.len() == 1 {
        return ids.remove(0);
    }
    principal(rbac::principal::Identifier::OrIds(rbac::principal::Set { ids }))
}

pub(super) fn not_permission(inner: rbac::Permission) -> rbac::Permission {
    permission(rbac::permission::Rule::NotRule(Box::new(inner)))
}

pub(super) fn not_principal(inner: rbac::Principal) -> rbac::Principal {
    principal(rbac::principal::Identifier::NotId(Box::new(inner)))
}

/// Addresses of a list; a bad one matches nothing rather than everything.
pub(super) fn ranges(values: &[String]) -> impl Iterator<Item = core::CidrRange> {
    values.iter().filter_map(|v| cidr(v))
}
