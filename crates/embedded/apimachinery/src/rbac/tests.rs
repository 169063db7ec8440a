//! Who may do what. Each test is about one part of a decision, so that no part can change unnoticed.

use serde_json::{Value, json};

use super::*;

/// The stored objects of a cluster.
#[derive(Default)]
struct Cluster {
    roles: Vec<Value>,
    cluster_roles: Vec<Value>,
    bindings: Vec<Value>,
    cluster_bindings: Vec<Value>,
}

impl Cluster {
    /// With the roles and bindings that every cluster has.
    fn with_defaults() -> Cluster {
        let (mut cluster_roles, mut cluster_bindings) = (Vec::new(), Vec::new());
        for object in default_objects() {
            match object["kind"].as_str() {
                Some("ClusterRole") => cluster_roles.push(object),
                Some("ClusterRoleBinding") => cluster_bindings.push(object),
                other => panic!("{other:?} is neither a role nor a binding"),
            }
        }
        Cluster { cluster_roles, cluster_bindings, ..Cluster::default() }
    }

    /// One ClusterRole `r` with one rule, bound everywhere to the user `u`.
    fn with_rule(rule: Value) -> Cluster {
        Cluster {
            cluster_roles: vec![role("r", rule)],
            cluster_bindings: vec![binding("b", "ClusterRole", "r", json!({"kind": "User", "name": "u"}))],
            ..Cluster::default()
        }
    }

    fn policy(&self) -> Policy {
        Policy::new(&self.roles, &self.cluster_roles, &self.bindings, &self.cluster_bindings)
    }

    fn why(&self, user: &str, groups: &[&str], verb: &str, what: &str, namespace: &str) -> Option<String> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        self.policy().authorize(&asked(user, &groups, verb, what, namespace))
    }

    fn lets(&self, user: &str, groups: &[&str], verb: &str, what: &str, namespace: &str) -> bool {
        self.why(user, groups, verb, what, namespace).is_some()
    }

    /// Whether the user `u`, without groups, may.
    fn u(&self, verb: &str, what: &str, namespace: &str) -> bool {
        self.lets("u", &[], verb, what, namespace)
    }
}

/// `what` is a path, or `resource[/subresource][.group][=name]`.
fn asked<'a>(
    user: &'a str,
    groups: &'a [String],
    verb: &'a str,
    what: &'a str,
    namespace: &'a str,
) -> Attributes<'a> {
    let mut asked = Attributes { user, groups, verb, namespace, ..Attributes::default() };
    if what.starts_with('/') {
        asked.path = what;
        return asked;
    }
    let (what, name) = what.split_once('=').unwrap_or((what, ""));
    let (resource, group) = what.split_once('.').unwrap_or((what, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    (asked.resource, asked.subresource, asked.group, asked.name) = (resource, subresource, group, name);
    asked
}

fn role(name: &str, rule: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": [rule]})
}

fn binding(name: &str, kind: &str, role: &str, subject: Value) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]})
}

fn within(namespace: &str, mut object: Value) -> Value {
    object["metadata"]["namespace"] = json!(namespace);
    object
}

fn read_pods() -> Value {
    json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name})
}

// --- a rule

#[test]
fn a_rule_grants_its_verbs() {
    let cluster =
        Cluster::with_rule(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
    assert!(cluster.u("get", "pods", "n") && cluster.u("list", "pods", "n"));
    assert!(!cluster.u("delete", "pods", "n"));
}

#[test]
fn a_rule_grants_its_groups() {
    let cluster =
        Cluster::with_rule(json!({"apiGroups": ["apps"], "resources": ["things"], "verbs": ["get"]}));
    assert!(cluster.u("get", "things.apps", "n"));
    assert!(!cluster.u("get", "things", "n") && !cluster.u("get", "things.batch", "n"));
}

#[test]
fn a_rule_grants_its_resources_and_not_what_is_below_them() {
    let cluster =
        Cluster::with_rule(json!({"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]}));
    assert!(cluster.u("get", "pods", "n") && cluster.u("get", "pods/log", "n"));
    assert!(!cluster.u("get", "secrets", "n"));
    assert!(!cluster.u("get", "pods/exec", "n"));
    assert!(!cluster.u("get", "services/log", "n"));
}

#[test]
fn a_subresource_does_not_grant_its_resource() {
    let cluster = Cluster::with_rule(json!({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}));
    assert!(cluster.u("get", "pods/log", "n"));
    assert!(!cluster.u("get", "pods", "n"));
}

#[test]
fn a_star_before_a_subresource_stands_for_every_resource() {
    let cluster =
        Cluster::with_rule(json!({"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["get"]}));
    assert!(cluster.u("get", "deployments/scale.apps", "n"));
    assert!(!cluster.u("get", "deployments/status.apps", "n") && !cluster.u("get", "deployments.apps", "n"));
}

#[test]
fn a_star_stands_for_every_verb_group_and_resource() {
    let cluster = Cluster::with_rule(json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}));
    assert!(cluster.u("delete", "pods", "") && cluster.u("watch", "deployments/scale.apps", "n"));
    assert!(!cluster.u("get", "/metrics", ""), "paths are named by themselves");
}

#[test]
fn a_rule_with_names_grants_these_only() {
    let rule =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]});
    let cluster = Cluster::with_rule(rule);
    assert!(cluster.u("get", "secrets=one", "n"));
    assert!(!cluster.u("get", "secrets=two", "n") && !cluster.u("get", "secrets", "n"));
}

#[test]
fn a_rule_grants_its_paths() {
    let cluster = Cluster::with_rule(json!({"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]}));
    assert!(cluster.u("get", "/metrics", "") && cluster.u("get", "/debug/pprof", ""));
    assert!(!cluster.u("get", "/metrics/more", "") && !cluster.u("get", "/debug", ""));
    assert!(!cluster.u("post", "/metrics", ""));
    assert!(!cluster.u("get", "pods", "n"));
}

#[test]
fn an_object_that_is_no_role_grants_nothing() {
    let mut cluster = Cluster::with_rule(json!("everything"));
    assert!(!cluster.u("get", "pods", "n"));
    cluster.cluster_roles = vec![json!({"metadata": {"name": "r"}, "rules": {"verbs": ["*"]}})];
    assert!(!cluster.u("get", "pods", "n"));
}

// --- bindings

#[test]
fn a_binding_in_a_namespace_holds_there() {
    for (kind, roles, cluster_roles) in [
        ("Role", vec![within("n", role("r", read_pods()))], vec![]),
        ("ClusterRole", vec![], vec![role("r", read_pods())]),
    ] {
        let bindings = vec![within("n", binding("b", kind, "r", user("u")))];
        let cluster = Cluster { roles, cluster_roles, bindings, ..Cluster::default() };
        assert!(cluster.u("get", "pods", "n"), "{kind}");
        assert!(!cluster.u("get", "pods", "other") && !cluster.u("get", "pods", ""), "{kind}");
    }
}

#[test]
fn a_binding_for_the_cluster_holds_everywhere() {
    let cluster = Cluster::with_rule(read_pods());
    assert!(cluster.u("get", "pods", "n") && cluster.u("get", "pods", ""));
}

#[test]
fn a_binding_finds_the_role_of_its_own_namespace() {
    let cluster = Cluster {
        roles: vec![within("other", role("r", read_pods()))],
        bindings: vec![within("n", binding("b", "Role", "r", user("u")))],
        ..Cluster::default()
    };
    assert!(!cluster.u("get", "pods", "n") && !cluster.u("get", "pods", "other"));
}

#[test]
fn a_binding_for_the_cluster_takes_no_role_of_a_namespace() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_bindings = vec![binding("b", "Role", "r", user("u"))];
    assert!(!cluster.u("get", "pods", "n"));
}

#[test]
fn a_binding_to_something_else_grants_nothing() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.roles = vec![within("n", role("r", read_pods()))];
    cluster.cluster_bindings.clear();
    for (kind, name) in [("Group", "r"), ("", "r"), ("Role", "missing"), ("ClusterRole", "missing")] {
        cluster.bindings = vec![within("n", binding("b", kind, name, user("u")))];
        assert!(!cluster.u("get", "pods", "n"), "{kind} {name}");
    }
}

#[test]
fn a_binding_that_lost_its_namespace_does_not_hold_for_the_cluster() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_bindings.clear();
    cluster.bindings = vec![binding("b", "ClusterRole", "r", user("u"))];
    assert!(!cluster.u("get", "pods", "") && !cluster.u("get", "pods", "n"));
}

#[test]
fn a_binding_in_a_namespace_grants_no_paths() {
    let mut cluster = Cluster::with_rule(json!({"nonResourceURLs": ["*"], "verbs": ["*"]}));
    assert!(cluster.u("get", "/metrics", "n"));
    let everywhere = cluster.cluster_bindings.remove(0);
    cluster.bindings = vec![within("n", everywhere)];
    assert!(!cluster.u("get", "/metrics", "n"));
}

// --- subjects

#[test]
fn users_groups_and_service_accounts_are_told_apart() {
    let account = "system:serviceaccount:x:name";
    for (subject, user_may, group_may, account_may) in [
        (json!({"kind": "User", "name": "name"}), true, false, false),
        (json!({"kind": "Group", "name": "name"}), false, true, false),
        (json!({"kind": "ServiceAccount", "name": "name", "namespace": "x"}), false, false, true),
        (json!({"kind": "ServiceAccount", "name": "name", "namespace": "y"}), false, false, false),
        (json!({"kind": "User", "name": account}), false, false, true),
        (json!({"kind": "Robot", "name": "name"}), false, false, false),
        (json!({"name": "name"}), false, false, false),
    ] {
        let mut cluster = Cluster::with_rule(read_pods());
        cluster.cluster_bindings = vec![binding("b", "ClusterRole", "r", subject.clone())];
        assert_eq!(cluster.lets("name", &[], "get", "pods", "n"), user_may, "user, {subject}");
        assert_eq!(cluster.lets("x", &["a", "name"], "get", "pods", "n"), group_may, "group, {subject}");
        assert_eq!(cluster.lets(account, &[], "get", "pods", "n"), account_may, "account, {subject}");
    }
}

#[test]
fn a_service_account_without_namespace_is_one_of_the_bindings() {
    let mut cluster = Cluster::with_rule(read_pods());
    let account = json!({"kind": "ServiceAccount", "name": "sa"});
    cluster.cluster_bindings.clear();
    cluster.bindings = vec![within("n", binding("b", "ClusterRole", "r", account))];
    assert!(cluster.lets("system:serviceaccount:n:sa", &[], "get", "pods", "n"));
    assert!(!cluster.lets("system:serviceaccount:other:sa", &[], "get", "pods", "n"));
}

#[test]
fn every_subject_of_a_binding_counts() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_bindings[0]["subjects"] = json!([user("first"), user("second")]);
    assert!(
        cluster.lets("first", &[], "get", "pods", "n") && cluster.lets("second", &[], "get", "pods", "n")
    );
    assert!(!cluster.lets("third", &[], "get", "pods", "n"));
}

#[test]
fn superusers_may_do_anything_without_a_role() {
    let cluster = Cluster::default();
    assert_eq!(cluster.why("x", &["a", SUPERUSERS], "delete", "nodes", ""), Some(String::new()));
    assert!(cluster.lets("x", &[SUPERUSERS], "get", "/metrics", ""));
    assert!(!cluster.lets(SUPERUSERS, &["system:master"], "get", "pods", "n"), "it is a group, not a user");
}

#[test]
fn who_has_no_binding_may_do_nothing() {
    assert!(!Cluster::with_defaults().lets("x", &[], "get", "pods", "n"));
}

// --- aggregation

fn labelled(label: &str, mut role: Value) -> Value {
    role["metadata"]["labels"][label] = json!("yes");
    role
}

fn aggregated(name: &str, label: &str) -> Value {
    let mut role = role(name, json!({"apiGroups": [""], "resources": ["own"], "verbs": ["get"]}));
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "yes"}}]});
    role
}

fn reads(resource: &str) -> Value {
    json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]})
}

#[test]
fn an_aggregated_role_has_the_rules_of_those_that_match_and_none_of_its_own() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_roles = vec![
        aggregated("r", "a"),
        labelled("a", role("first", reads("first"))),
        labelled("a", role("second", reads("second"))),
        labelled("b", role("third", reads("third"))),
    ];
    assert!(cluster.u("get", "first", "n") && cluster.u("get", "second", "n"));
    assert!(!cluster.u("get", "third", "n") && !cluster.u("get", "own", "n"));
}

#[test]
fn an_aggregated_role_follows_another_one() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_roles = vec![
        aggregated("r", "a"),
        labelled("a", aggregated("inner", "b")),
        labelled("b", role("leaf", reads("leaf"))),
    ];
    assert!(cluster.u("get", "leaf", "n"));
}

#[test]
fn roles_that_aggregate_each_other_end() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_roles = vec![
        labelled("b", aggregated("r", "a")),
        labelled("a", aggregated("inner", "b")),
        labelled("b", role("leaf", reads("leaf"))),
    ];
    assert!(cluster.u("get", "leaf", "n"));
}

#[test]
fn a_role_that_is_reached_twice_counts_once() {
    let mut cluster = Cluster::with_rule(read_pods());
    cluster.cluster_roles = vec![
        aggregated("r", "a"),
        labelled("a", aggregated("inner", "b")),
        labelled("a", labelled("b", role("leaf", reads("leaf")))),
    ];
    let rules = cluster.policy().rules("u", &[], "n");
    assert_eq!(rules["resourceRules"].as_array().unwrap().len(), 1, "{rules}");
}

// --- what is told

#[test]
fn a_decision_names_the_binding() {
    let mut cluster = Cluster::with_rule(read_pods());
    let everywhere = r#"RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r""#;
    assert_eq!(cluster.why("u", &[], "get", "pods", "n").as_deref(), Some(everywhere));
    let binding = cluster.cluster_bindings.remove(0);
    cluster.bindings = vec![within("n", binding)];
    let here = r#"RBAC: allowed by RoleBinding "b" of ClusterRole "r""#;
    assert_eq!(cluster.why("u", &[], "get", "pods", "n").as_deref(), Some(here));
}

#[test]
fn a_rules_review_tells_what_holds_in_the_namespace() {
    let mut cluster = Cluster::with_rule(json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}));
    let named =
        json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]});
    for namespace in ["n", "other"] {
        cluster.roles.push(within(
            namespace,
            role("local", if namespace == "n" { named.clone() } else { read_pods() }),
        ));
        cluster.bindings.push(within(namespace, binding("b", "Role", "local", user("u"))));
    }
    assert_eq!(
        cluster.policy().rules("u", &[], "n"),
        json!({
            "resourceRules": [named], "incomplete": false,
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
        })
    );
    assert_eq!(cluster.policy().rules("u", &[], "other")["resourceRules"], json!([read_pods()]));
}

#[test]
fn a_rules_review_tells_superusers_that_they_may_do_everything() {
    let everything = json!({
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
    });
    let policy = Policy::default();
    assert_eq!(policy.rules("u", &[SUPERUSERS.to_owned()], "n"), everything);
    assert_eq!(policy.rules("u", &["others".to_owned()], "n")["resourceRules"], json!([]));
}

#[test]
fn denials_read_as_in_kubernetes() {
    for (verb, what, namespace, text) in [
        ("get", "pods", "n", r#"User "u" cannot get resource "pods" in API group "" in the namespace "n""#),
        (
            "list",
            "nodes",
            "",
            r#"User "u" cannot list resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            "update",
            "deployments/scale.apps",
            "n",
            r#"User "u" cannot update resource "deployments/scale" in API group "apps" in the namespace "n""#,
        ),
        ("get", "/metrics", "", r#"User "u" cannot get path "/metrics""#),
    ] {
        assert_eq!(denial(&asked("u", &[], verb, what, namespace)), text);
    }
}

// --- the roles that every cluster has

/// The default roles and bindings, a line per role and group of rules.
fn rendered() -> String {
    let list = |value: &Value| {
        let texts = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| if text.is_empty() { "\"\"" } else { text }).collect::<Vec<_>>().join(" ")
    };
    let mut text = String::new();
    for object in default_objects() {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap();
        if object["kind"] == "ClusterRoleBinding" {
            let subjects = object["subjects"].as_array().unwrap().iter();
            let subjects: Vec<String> = subjects
                .map(|s| format!("{} {}", s["kind"].as_str().unwrap(), s["name"].as_str().unwrap()))
                .collect();
            let role = &object["roleRef"];
            assert_eq!(role["kind"], "ClusterRole");
            text +=
                &format!("binding {name}: {} to {}\n", role["name"].as_str().unwrap(), subjects.join(", "));
            continue;
        }
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object).unwrap();
        let labels: Vec<&str> =
            labels.keys().map(String::as_str).filter(|label| label.contains("aggregate")).collect();
        text += &format!("role {name} [{}]\n", labels.join(" "));
        if let Some(selectors) = object.pointer("/aggregationRule/clusterRoleSelectors") {
            text += &format!("  aggregates {selectors}\n");
        }
        for rule in object["rules"].as_array().unwrap() {
            let what = match rule.get("nonResourceURLs") {
                Some(paths) => list(paths),
                None => format!("{}: {}", list(&rule["apiGroups"]), list(&rule["resources"])),
            };
            text += &format!("  {what} -> {}\n", list(&rule["verbs"]));
        }
    }
    text
}

#[test]
fn the_default_roles_are_these() {
    assert_eq!(rendered(), include_str!("default_roles.txt"));
}

#[test]
fn the_default_roles_work() {
    let mut cluster = Cluster::with_defaults();
    for role in ["admin", "edit", "view"] {
        cluster.bindings.push(within("n", binding(role, "ClusterRole", role, user(role))));
    }
    for (user, groups, verb, what, namespace, may) in [
        ("view", &[][..], "list", "services", "n", true),
        ("view", &[], "list", "secrets", "n", false),
        ("view", &[], "create", "services", "n", false),
        ("view", &[], "list", "nodes", "", false),
        ("edit", &[], "create", "secrets", "n", true),
        ("edit", &[], "list", "services", "n", true),
        ("edit", &[], "create", "rolebindings.rbac.authorization.k8s.io", "n", false),
        ("edit", &[], "create", "services", "other", false),
        ("admin", &[], "create", "rolebindings.rbac.authorization.k8s.io", "n", true),
        ("admin", &[], "create", "secrets", "n", true),
        ("admin", &[], "create", "clusterroles.rbac.authorization.k8s.io", "", false),
        ("x", &["system:authenticated"], "get", "/apis/apps/v1", "", true),
        ("x", &["system:authenticated"], "create", "selfsubjectaccessreviews.authorization.k8s.io", "", true),
        ("x", &["system:authenticated"], "create", "subjectaccessreviews.authorization.k8s.io", "", false),
        ("x", &["system:unauthenticated"], "get", "/healthz", "", true),
        ("x", &["system:unauthenticated"], "get", "/metrics", "", false),
        ("x", &["system:unauthenticated"], "get", "/apis", "", false),
    ] {
        assert_eq!(
            cluster.lets(user, groups, verb, what, namespace),
            may,
            "{user} {verb} {what} {namespace}"
        );
    }
}
