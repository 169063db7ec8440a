//! Who may grant what: nobody gives away permissions that he does not have himself (Kubernetes documentation, "Using RBAC
//! Authorization", "Privilege escalation prevention and bootstrapping").

use serde_json::Value;

use super::policy::{Attributes, Policy, Rule, SUPERUSERS};

/// API group of roles and bindings.
const GROUP: &str = "rbac.authorization.k8s.io";
/// Single permissions that one role may be taken apart into; one rule stands for the product of its lists.
const MAX_PERMISSIONS: usize = 20_000;
/// Missing permissions that a refusal lists.
const MAX_LISTED: usize = 50;

/// Why permissions may not be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// The role that is to be bound does not exist.
    NoRole,
    /// The text of a 403's message after `is forbidden: `.
    Forbidden(String),
}

/// Who grants, and where.
#[derive(Clone, Copy, Debug)]
pub struct Granter<'a> {
    /// User name.
    pub user: &'a str,
    /// Groups of the user.
    pub groups: &'a [String],
    /// Namespace in which the grant holds, empty for the whole cluster.
    pub namespace: &'a str,
}

impl Policy {
    /// Whether `granter` may give `role`, a Role or (`plural` says which) a ClusterRole, the rules that it has. He may if
    /// he has all of them, or may `escalate` it.
    ///
    /// # Errors
    /// [`Escalation::Forbidden`].
    pub fn may_define(&self, granter: Granter<'_>, plural: &str, role: &Value) -> Result<(), Escalation> {
        let name = role.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        if self.is_free(granter, "escalate", plural, name) {
            return Ok(());
        }
        if role.get("aggregationRule").is_some_and(|rule| !rule.is_null()) {
            self.holds(granter, &[Rule::everything(), Rule::everywhere()]).map_err(|_| {
                Escalation::Forbidden("must have cluster-admin privileges to use an aggregationRule".into())
            })?;
        }
        self.holds(granter, &Rule::all_of(role))
    }

    /// Whether `granter` may bind the role that `binding` refers to. He may if he has all its permissions, or may `bind` it.
    ///
    /// # Errors
    /// As [`Escalation`] lists.
    pub fn may_bind(&self, granter: Granter<'_>, binding: &Value) -> Result<(), Escalation> {
        let reference = |key: &str| {
            binding.get("roleRef").and_then(|role| role.get(key)).and_then(Value::as_str).unwrap_or_default()
        };
        let (kind, name) = (reference("kind"), reference("name"));
        let plural = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.is_free(granter, "bind", plural, name) {
            return Ok(());
        }
        let rules = self.rules_of(kind, granter.namespace, name).ok_or(Escalation::NoRole)?;
        self.holds(granter, &rules)
    }

    /// Whether nothing has to be checked.
    fn is_free(&self, granter: Granter<'_>, verb: &str, plural: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: granter.user,
            groups: granter.groups,
            verb,
            group: GROUP,
            resource: plural,
            name,
            namespace: granter.namespace,
            ..Attributes::default()
        };
        granter.groups.iter().any(|group| group == SUPERUSERS) || self.authorize(&attributes).is_some()
    }

    /// Whether `granter` has all permissions of `rules`.
    fn holds(&self, granter: Granter<'_>, rules: &[Rule]) -> Result<(), Escalation> {
        let own: Vec<&Rule> = self.held(granter.user, granter.groups, granter.namespace).collect();
        let mut missing = Vec::new();
        let mut looked_at = 0;
        for rule in rules {
            if own.iter().any(|own| own.covers(rule)) {
                continue;
            }
            looked_at += rule.permissions();
            if looked_at > MAX_PERMISSIONS {
                return Err(Escalation::Forbidden(format!(
                    "the rules stand for more than {MAX_PERMISSIONS} permissions, too many to compare with those of user \
                     {:?}: split the role",
                    granter.user
                )));
            }
            missing.extend(rule.apart().into_iter().filter(|one| !own.iter().any(|own| own.covers(one))));
        }
        if missing.is_empty() {
            return Ok(());
        }
        let mut listed: Vec<String> = compact(missing).iter().map(Rule::describe).collect();
        listed.sort_unstable();
        listed.dedup();
        let more = listed.len().saturating_sub(MAX_LISTED);
        listed.truncate(MAX_LISTED);
        if more > 0 {
            listed.push(format!("and {more} more"));
        }
        Err(Escalation::Forbidden(format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            granter.user,
            quoted(granter.groups),
            listed.join("\n")
        )))
    }
}

/// Permissions that differ in their verb only become one rule.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut by_object: std::collections::BTreeMap<_, Rule> = std::collections::BTreeMap::new();
    for mut rule in rules {
        let key = (rule.groups.clone(), rule.resources.clone(), rule.names.clone(), rule.paths.clone());
        match by_object.get_mut(&key) {
            Some(known) => known.verbs.append(&mut rule.verbs),
            None => {
                by_object.insert(key, rule);
            }
        }
    }
    by_object.into_values().collect()
}

/// As Go prints a list of texts.
fn quoted(list: &[String]) -> String {
    let list: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", list.join(" "))
}

impl Rule {
    fn everything() -> Rule {
        let all = || vec!["*".to_owned()];
        Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() }
    }

    fn everywhere() -> Rule {
        let all = || vec!["*".to_owned()];
        Rule { verbs: all(), paths: all(), ..Rule::default() }
    }

    /// How many permissions [`Rule::apart`] makes.
    fn permissions(&self) -> usize {
        let objects =
            self.groups.len().saturating_mul(self.resources.len()).saturating_mul(self.names.len().max(1));
        objects.saturating_add(self.paths.len()).saturating_mul(self.verbs.len())
    }

    /// The single permissions that the rule stands for.
    fn apart(&self) -> Vec<Rule> {
        let one = |text: &String| vec![text.clone()];
        let mut out = Vec::new();
        for verb in &self.verbs {
            for path in &self.paths {
                out.push(Rule { verbs: one(verb), paths: one(path), ..Rule::default() });
            }
            for group in &self.groups {
                for resource in &self.resources {
                    let single = Rule {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Rule::default()
                    };
                    if self.names.is_empty() {
                        out.push(single);
                        continue;
                    }
                    out.extend(self.names.iter().map(|name| Rule { names: one(name), ..single.clone() }));
                }
            }
        }
        out
    }

    /// Whether whoever has this rule has all that `other` grants.
    fn covers(&self, other: &Rule) -> bool {
        let all = |own: &[String], wanted: &[String]| {
            own.iter().any(|text| text == "*") || wanted.iter().all(|text| own.contains(text))
        };
        let resource = |wanted: &String| {
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources.iter().any(|own| own == "*" || own == wanted || Some(own) == sub.as_ref())
        };
        let path = |wanted: &String| {
            self.paths.iter().any(|own| match own.strip_suffix('*') {
                Some(prefix) => wanted.starts_with(prefix),
                None => own == wanted,
            })
        };
        let names = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|name| self.names.contains(name)));
        all(&self.verbs, &other.verbs)
            && all(&self.groups, &other.groups)
            && other.resources.iter().all(resource)
            && other.paths.iter().all(path)
            && names
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`.
    fn describe(&self) -> String {
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("ResourceNames", &self.names),
            ("NonResourceURLs", &self.paths),
            ("Verbs", &self.verbs),
        ];
        let parts = parts.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> = parts.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        format!("{{{}}}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
        json!({"apiGroups": [group], "resources": [resource], "verbs": verbs})
    }

    /// The user `u` has the ClusterRole `own` with `rules`: in the namespace `ns`, or everywhere.
    fn policy(rules: Value, everywhere: bool) -> Policy {
        let own = json!({"metadata": {"name": "own"}, "rules": rules});
        let admin = json!({"metadata": {"name": "admin"}, "rules": [rule("*", "*", &["*"])]});
        let pods =
            json!({"metadata": {"name": "pods", "namespace": "ns"}, "rules": [rule("", "pods", &["get"])]});
        let binding = json!({"metadata": {"name": "b", "namespace": "ns"}, "roleRef": {"kind": "ClusterRole", "name": "own"},
            "subjects": [{"kind": "User", "name": "u"}]});
        let (here, all) = if everywhere { (vec![], vec![&binding]) } else { (vec![&binding], vec![]) };
        Policy::new([&pods], [&own, &admin], here, all)
    }

    fn granter(namespace: &str) -> Granter<'_> {
        Granter { user: "u", groups: &[], namespace }
    }

    /// Whether `u`, who has `own`, may make a role with the rule `wanted`.
    fn defines(own: Value, wanted: Value) -> bool {
        let role = json!({"metadata": {"name": "r", "namespace": "ns"}, "rules": [wanted]});
        policy(json!([own]), false).may_define(granter("ns"), "roles", &role).is_ok()
    }

    #[test]
    fn only_what_one_has_can_be_granted() {
        for (own, wanted, may) in [
            (rule("", "pods", &["get", "list"]), rule("", "pods", &["get"]), true),
            (rule("", "pods", &["get"]), rule("", "pods", &["get", "list"]), false),
            (rule("", "pods", &["get"]), rule("apps", "pods", &["get"]), false),
            (rule("", "pods", &["get"]), rule("", "pods/log", &["get"]), false),
            (rule("", "*/log", &["get"]), rule("", "pods/log", &["get"]), true),
            (rule("*", "*", &["*"]), rule("", "pods/log", &["get"]), true),
            (rule("", "pods", &["*"]), rule("", "pods", &["*"]), true),
            (rule("", "pods", &["get"]), rule("", "*", &["get"]), false),
            (rule("", "pods", &["get"]), json!({"nonResourceURLs": ["/x"], "verbs": ["get"]}), false),
        ] {
            assert_eq!(defines(own.clone(), wanted.clone()), may, "{own} for {wanted}");
        }
        let named = |names: Value| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": names});
        assert!(defines(rule("", "secrets", &["get"]), named(json!(["a"]))));
        assert!(defines(named(json!(["a", "b"])), named(json!(["a"]))));
        assert!(!defines(named(json!(["a"])), named(json!(["a", "b"]))));
        assert!(!defines(named(json!(["a"])), rule("", "secrets", &["get"])));
        let path = |path: &str| json!({"nonResourceURLs": [path], "verbs": ["get"]});
        let everywhere = |own: &str, wanted: &str| {
            let role = json!({"metadata": {"name": "r"}, "rules": [path(wanted)]});
            policy(json!([path(own)]), true).may_define(granter(""), "clusterroles", &role).is_ok()
        };
        assert!(everywhere("/metrics/*", "/metrics/x") && everywhere("*", "/x") && !everywhere("/x", "/y"));
    }

    #[test]
    fn a_rule_may_be_had_in_parts() {
        let own = json!([rule("", "pods", &["get"]), rule("", "pods", &["list"])]);
        let role = json!({"metadata": {"name": "r"}, "rules": [rule("", "pods", &["get", "list"])]});
        assert_eq!(policy(own, false).may_define(granter("ns"), "roles", &role), Ok(()));
    }

    #[test]
    fn what_holds_in_a_namespace_is_not_had_everywhere() {
        let own = json!([rule("*", "*", &["get"])]);
        let role = json!({"metadata": {"name": "r"}, "rules": [rule("", "pods", &["get"])]});
        assert!(policy(own.clone(), false).may_define(granter(""), "clusterroles", &role).is_err());
        assert!(policy(own.clone(), false).may_define(granter("other"), "roles", &role).is_err());
        assert!(policy(own, true).may_define(granter(""), "clusterroles", &role).is_ok());
    }

    #[test]
    fn the_verbs_escalate_and_bind_are_enough() {
        let role = json!({"metadata": {"name": "r"}, "rules": [rule("", "secrets", &["*"])]});
        let may = |verb: &str, resource: &str| policy(json!([rule(GROUP, resource, &[verb])]), false);
        assert!(may("escalate", "roles").may_define(granter("ns"), "roles", &role).is_ok());
        assert!(may("escalate", "clusterroles").may_define(granter("ns"), "roles", &role).is_err());
        assert!(may("bind", "roles").may_define(granter("ns"), "roles", &role).is_err());
        let binding = |kind: &str, name: &str| json!({"roleRef": {"kind": kind, "name": name}});
        assert!(
            may("bind", "clusterroles").may_bind(granter("ns"), &binding("ClusterRole", "admin")).is_ok()
        );
        assert!(may("bind", "roles").may_bind(granter("ns"), &binding("ClusterRole", "admin")).is_err());
        assert!(
            may("escalate", "clusterroles")
                .may_bind(granter("ns"), &binding("ClusterRole", "admin"))
                .is_err()
        );
    }

    #[test]
    fn who_is_free_is_so_by_group_and_by_name() {
        let free = json!({"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["admin"]});
        let role = json!({"metadata": {"name": "binders"}, "rules": [free]});
        let admin = json!({"metadata": {"name": "admin"}, "rules": [rule("*", "*", &["*"])]});
        let other = json!({"metadata": {"name": "other"}, "rules": [rule("", "pods", &["get"])]});
        let binding = json!({"metadata": {"name": "b", "namespace": "ns"}, "roleRef": {"kind": "ClusterRole", "name": "binders"},
            "subjects": [{"kind": "Group", "name": "devs"}]});
        let policy = Policy::new([], [&role, &admin, &other], [&binding], []);
        let bind = |groups: &[String], name: &str| {
            let granter = Granter { user: "u", groups, namespace: "ns" };
            policy.may_bind(granter, &json!({"roleRef": {"kind": "ClusterRole", "name": name}})).is_ok()
        };
        let (devs, others) = (["devs".to_owned()], ["ops".to_owned()]);
        assert!(bind(&devs, "admin"), "a group of his may");
        assert!(!bind(&devs, "other"), "only what is named may be bound");
        assert!(!bind(&others, "admin") && !bind(&[], "admin"));
    }

    #[test]
    fn bindings_are_judged_by_their_role() {
        let has_pods = policy(json!([rule("", "pods", &["get"])]), false);
        let bind = |kind: &str, name: &str| {
            has_pods.may_bind(granter("ns"), &json!({"roleRef": {"kind": kind, "name": name}}))
        };
        assert_eq!(bind("Role", "pods"), Ok(()));
        assert_eq!(bind("Role", "none"), Err(Escalation::NoRole));
        assert_eq!(bind("ClusterRole", "none"), Err(Escalation::NoRole));
        let Err(Escalation::Forbidden(why)) = bind("ClusterRole", "admin") else { panic!() };
        assert_eq!(
            why,
            "user \"u\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}"
        );
        let masters = ["system:masters".to_owned()];
        let root = Granter { user: "root", groups: &masters, namespace: "ns" };
        assert_eq!(
            has_pods.may_bind(root, &json!({"roleRef": {"kind": "ClusterRole", "name": "admin"}})),
            Ok(())
        );
    }

    #[test]
    fn aggregation_is_for_who_has_everything() {
        let role =
            json!({"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": []}, "rules": []});
        // Who has all verbs has `escalate`, too.
        let some = json!([rule("*", "*", &["get"])]);
        assert!(policy(some, true).may_define(granter(""), "clusterroles", &role).is_err());
        let all = json!([rule("*", "*", &["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
        assert!(policy(all, true).may_define(granter(""), "clusterroles", &role).is_ok());
    }

    #[test]
    fn products_of_long_lists_are_not_made() {
        let long: Vec<String> = (0..1000).map(|i| format!("x{i}")).collect();
        let wanted = json!({"apiGroups": long, "resources": long, "verbs": long});
        let role = json!({"metadata": {"name": "r"}, "rules": [wanted]});
        let refused = policy(json!([]), false).may_define(granter("ns"), "roles", &role);
        let Err(Escalation::Forbidden(why)) = refused else { panic!() };
        assert!(why.contains("split the role"), "{why}");
    }
}
