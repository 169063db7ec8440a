//! `kubectl --as`: acting as somebody else, for those whom RBAC lets.

use std::collections::BTreeMap;

use http::HeaderMap;
use portolan_apimachinery::ApiStatus;
use portolan_apimachinery::rbac::{Attributes, Policy, denial};

use super::user::{AUTHENTICATED, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user that the request asks to act as; `None` if it does not ask.
///
/// # Errors
/// 403 if `user` may not, 400 for groups without a user.
pub(crate) fn impersonate(
    policy: &Policy,
    user: &User,
    headers: &HeaderMap,
) -> Result<Option<User>, ApiStatus> {
    let text =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(EXTRA), value.to_str()) {
            let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    let Some(name) = text(USER) else {
        if groups.is_empty() && extra.is_empty() && text(UID).is_none() {
            return Ok(None);
        }
        return Err(ApiStatus::bad_request("requested impersonation without impersonating a user"));
    };
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            user: &user.name,
            groups: &user.groups,
            verb: "impersonate",
            group,
            resource,
            subresource,
            name,
            namespace,
            path: "",
        };
        match policy.authorize(&attributes) {
            Some(_) => Ok(()),
            None => Err(ApiStatus::forbidden(group, resource, name, &denial(&attributes))),
        }
    };
    let account = name.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':'));
    let mut groups = groups;
    match account {
        Some((namespace, account)) => {
            check("", "serviceaccounts", "", namespace, account)?;
            if groups.is_empty() {
                groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
            }
        }
        None => check("", "users", "", "", name)?,
    }
    for group in headers.get_all(GROUP).iter().filter_map(|value| value.to_str().ok()) {
        check("", "groups", "", "", group)?;
    }
    if let Some(uid) = text(UID) {
        check("authentication.k8s.io", "uids", "", "", uid)?;
    }
    for (key, values) in &extra {
        for value in values {
            check("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    if name != "system:anonymous" && !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.into());
    }
    Ok(Some(User { name: name.to_owned(), uid: text(UID).unwrap_or_default().to_owned(), groups, extra }))
}
