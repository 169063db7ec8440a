//! Pods and pod templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{list, one_of, port, text};
use crate::status::FieldError;
use crate::syntax;

/// What a Pod's user may still change, in the words of the real server.
const UPDATE_RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A PodSpec at `path`.
pub(super) fn spec(spec: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let empty = Value::Null;
    let spec = spec.unwrap_or(&empty);
    let volumes = volumes(spec, path, errors);
    if list(spec, "/containers").is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, &format!("/{kind}")).iter().enumerate() {
            let path = format!("{path}.{kind}[{i}]");
            let name = text(container, "/name");
            if name.is_empty() {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            } else if let Some(why) = syntax::dns_label(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, why));
            } else if !seen.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
            check_container(container, &path, &volumes, errors);
        }
    }
    one_of(
        text(spec, "/restartPolicy"),
        &["Always", "OnFailure", "Never"],
        format!("{path}.restartPolicy"),
        errors,
    );
    one_of(
        text(spec, "/dnsPolicy"),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        format!("{path}.dnsPolicy"),
        errors,
    );
    let account = text(spec, "/serviceAccountName");
    if let Some(why) = syntax::dns_subdomain(account).filter(|_| !account.is_empty()) {
        errors.push(FieldError::invalid(format!("{path}.serviceAccountName"), account, why));
    }
    for key in ["terminationGracePeriodSeconds", "activeDeadlineSeconds"] {
        if let Some(n) = spec.get(key).and_then(Value::as_i64).filter(|n| *n < 0) {
            errors.push(FieldError::invalid(
                format!("{path}.{key}"),
                n,
                "must be greater than or equal to 0",
            ));
        }
    }
    super::metadata::labels(spec.get("nodeSelector"), &format!("{path}.nodeSelector"), errors);
}

fn volumes<'a>(spec: &'a Value, path: &str, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (i, volume) in list(spec, "/volumes").iter().enumerate() {
        let path = format!("{path}.volumes[{i}]");
        let name = text(volume, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(why) = syntax::dns_label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        } else if !seen.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        let sources = volume.as_object().map_or(0, |v| v.keys().filter(|k| *k != "name").count());
        if sources > 1 {
            errors.push(FieldError::forbidden(path.clone(), "may not specify more than 1 volume type"));
        }
        for (pointer, field) in
            [("/configMap", "name"), ("/secret", "secretName"), ("/persistentVolumeClaim", "claimName")]
        {
            if let Some(source) = volume.pointer(pointer)
                && text(source, &format!("/{field}")).is_empty()
            {
                let field = format!("{path}.{}.{field}", pointer.trim_start_matches('/'));
                errors.push(FieldError::required(field, ""));
            }
        }
    }
    seen
}

fn check_container(container: &Value, path: &str, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    if text(container, "/image").is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    one_of(
        text(container, "/imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        format!("{path}.imagePullPolicy"),
        errors,
    );
    let mut port_names = BTreeSet::new();
    for (i, entry) in list(container, "/ports").iter().enumerate() {
        let path = format!("{path}.ports[{i}]");
        match entry.get("containerPort") {
            None => errors.push(FieldError::required(format!("{path}.containerPort"), "")),
            number => port(number, format!("{path}.containerPort"), errors),
        }
        one_of(text(entry, "/protocol"), &["SCTP", "TCP", "UDP"], format!("{path}.protocol"), errors);
        let name = text(entry, "/name");
        if !name.is_empty() {
            if let Some(why) = syntax::port_name(name) {
                errors.push(FieldError::invalid(format!("{path}.name"), name, why));
            } else if !port_names.insert(name) {
                errors.push(FieldError::duplicate(format!("{path}.name"), name));
            }
        }
    }
    for (i, env) in list(container, "/env").iter().enumerate() {
        let path = format!("{path}.env[{i}]");
        let name = text(env, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if let Some(why) = syntax::environment_variable(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        }
        if env.get("valueFrom").is_some() && !text(env, "/value").is_empty() {
            let why = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(format!("{path}.valueFrom"), "", why));
        }
    }
    let mut mounted = BTreeSet::new();
    for (i, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{i}]");
        let name = text(mount, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(format!("{path}.name"), name));
        }
        let place = text(mount, "/mountPath");
        if place.is_empty() {
            errors.push(FieldError::required(format!("{path}.mountPath"), ""));
        } else if !mounted.insert(place) {
            errors.push(FieldError::invalid(format!("{path}.mountPath"), place, "must be unique"));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(check) = container.get(probe) {
            check_probe(check, &format!("{path}.{probe}"), errors);
        }
    }
}

fn check_probe(probe: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    match handlers.iter().filter(|h| probe.get(**h).is_some()).count() {
        0 => errors.push(FieldError::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(path, "may not specify more than 1 handler type")),
    }
    for handler in ["httpGet", "tcpSocket", "grpc"] {
        port(probe.get(handler).and_then(|h| h.get("port")), format!("{path}.{handler}.port"), errors);
    }
}

/// A running Pod is what it is, but for its images and a few more fields.
pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let fixed = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
            for container in containers.filter_map(Value::as_object_mut) {
                container.shift_remove("image");
            }
        }
        if let Some(spec) = spec.as_object_mut() {
            for key in ["activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"] {
                spec.shift_remove(key);
            }
            // Placing a Pod is a change from no node to one.
            if text(old, "/spec/nodeName").is_empty() {
                spec.shift_remove("nodeName");
            }
        }
        spec
    };
    if fixed(old) != fixed(new) {
        errors.push(FieldError::forbidden("spec", UPDATE_RULE));
    }
}
