use super::*;
use crate::fixture::yaml;

/// What `rules` make of the service ratings in namespace bookinfo with the labels `tier: gold` and `team: data`.
fn exported(rules: &str) -> Option<String> {
    let set: ExportedServiceSetSpec = yaml(&format!("exportRules: {rules}"));
    let labels = yaml("{tier: gold, team: data}");
    ExportRules(&set)
        .apply("ratings", "bookinfo", &labels)
        .map(|(name, namespace)| format!("{name}.{namespace}"))
}

/// Rows of behaviour, rules and the exported `name.namespace`.
fn check_exports(rows: &[(&str, &str, Option<&str>)]) {
    for (what, rules, expected) in rows {
        assert_eq!(exported(rules).as_deref(), *expected, "{what}: {rules}");
    }
}

#[test]
fn name_rules_export_what_they_name_and_nothing_else() {
    check_exports(&[
        ("no rule exports nothing", "[]", None),
        (
            "name and namespace are named",
            "[{type: NameSelector, nameSelector: {name: ratings, namespace: bookinfo}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "another name of the same namespace stays here",
            "[{type: NameSelector, nameSelector: {name: reviews, namespace: bookinfo}}]",
            None,
        ),
        (
            "the same name in another namespace stays here",
            "[{type: NameSelector, nameSelector: {name: ratings, namespace: shop}}]",
            None,
        ),
        (
            "an empty selector is every service",
            "[{type: NameSelector, nameSelector: {}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "* is any name of one namespace",
            "[{type: NameSelector, nameSelector: {name: '*', namespace: bookinfo}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "* as name does not widen the namespace",
            "[{type: NameSelector, nameSelector: {name: '*', namespace: shop}}]",
            None,
        ),
        (
            "* is any namespace of one name",
            "[{type: NameSelector, nameSelector: {name: ratings, namespace: '*'}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "* as namespace does not widen the name",
            "[{type: NameSelector, nameSelector: {name: reviews, namespace: '*'}}]",
            None,
        ),
        ("there are no globs in names", "[{type: NameSelector, nameSelector: {name: 'rat*'}}]", None),
        (
            "there are no globs in namespaces",
            "[{type: NameSelector, nameSelector: {namespace: 'book*'}}]",
            None,
        ),
        (
            "a type that does not exist exports nothing",
            "[{type: Everything, nameSelector: {}, labelSelector: {}}]",
            None,
        ),
        ("types are case sensitive", "[{type: nameselector, nameSelector: {}}]", None),
        ("no type exports nothing", "[{type: '', nameSelector: {}, labelSelector: {}}]", None),
        ("a name rule without selector exports nothing", "[{type: NameSelector}]", None),
        ("a name rule does not use a label selector", "[{type: NameSelector, labelSelector: {}}]", None),
    ]);
}

#[test]
fn aliases_rename_what_is_exported() {
    let cases = [
        ("{name: stars}", "stars.bookinfo"),
        ("{namespace: public}", "ratings.public"),
        ("{name: stars, namespace: public}", "stars.public"),
        ("{}", "ratings.bookinfo"),
        ("{name: '*', namespace: '*'}", "ratings.bookinfo"),
    ];
    for (alias, expected) in cases {
        let rules = format!("[{{type: NameSelector, nameSelector: {{alias: {alias}}}}}]");
        assert_eq!(exported(&rules).as_deref(), Some(expected), "{alias}");
    }
}

#[test]
fn label_rules_export_what_they_select_and_nothing_else() {
    check_exports(&[
        (
            "an empty selector is every service",
            "[{type: LabelSelector, labelSelector: {}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "a namespace alone selects all of it",
            "[{type: LabelSelector, labelSelector: {namespace: bookinfo}}]",
            Some("ratings.bookinfo"),
        ),
        ("another namespace stays here", "[{type: LabelSelector, labelSelector: {namespace: shop}}]", None),
        (
            "* is any namespace",
            "[{type: LabelSelector, labelSelector: {namespace: '*', selector: {matchLabels: {tier: gold}}}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "a label that the service has",
            "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {tier: gold}}}}]",
            Some("ratings.bookinfo"),
        ),
        (
            "another value of the label stays here",
            "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {tier: silver}}}}]",
            None,
        ),
        (
            "a service without the label stays here",
            "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {export: 'yes'}}}}]",
            None,
        ),
        (
            "one label of two is not enough",
            "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {team: data, tier: silver}}}}]",
            None,
        ),
        (
            "the label does not outweigh the namespace",
            "[{type: LabelSelector, labelSelector: {namespace: shop, selector: {matchLabels: {tier: gold}}}}]",
            None,
        ),
        (
            "the namespace does not outweigh the label",
            "[{type: LabelSelector, labelSelector: {namespace: bookinfo, selector: {matchLabels: {tier: silver}}}}]",
            None,
        ),
        (
            "labels and expressions must both hold",
            "[{type: LabelSelector, labelSelector: {selector: {matchLabels: {tier: gold}, matchExpressions: [{key: team, operator: DoesNotExist}]}}}]",
            None,
        ),
        (
            "a selector that cannot be evaluated exports nothing",
            "[{type: LabelSelector, labelSelector: {selector: {matchExpressions: [{key: tier, operator: Like, values: [gold]}]}}}]",
            None,
        ),
        ("a label rule without selector exports nothing", "[{type: LabelSelector}]", None),
        ("a label rule does not use a name selector", "[{type: LabelSelector, nameSelector: {}}]", None),
    ]);
}

#[test]
fn label_rules_rename_by_the_first_alias_that_fits() {
    let cases = [
        ("[]", "ratings.bookinfo"),
        ("[{name: ratings, alias: {name: stars}}]", "stars.bookinfo"),
        ("[{name: reviews, alias: {name: stars}}]", "ratings.bookinfo"),
        ("[{name: ratings, namespace: shop, alias: {name: stars}}]", "ratings.bookinfo"),
        (
            "[{name: reviews, alias: {name: no}}, {namespace: bookinfo, alias: {namespace: public}}]",
            "ratings.public",
        ),
        ("[{name: ratings, alias: {name: first}}, {name: ratings, alias: {name: second}}]", "first.bookinfo"),
        ("[{name: ratings}, {name: ratings, alias: {name: second}}]", "ratings.bookinfo"),
    ];
    for (aliases, expected) in cases {
        let rules = format!("[{{type: LabelSelector, labelSelector: {{aliases: {aliases}}}}}]");
        assert_eq!(exported(&rules).as_deref(), Some(expected), "{aliases}");
    }
}

#[test]
fn the_first_export_rule_that_matches_wins() {
    const NAME: &str = "{type: NameSelector, nameSelector: {name: ratings, alias: {name: by-name}}}";
    const LABEL: &str = "{type: LabelSelector, labelSelector: {selector: {matchLabels: {tier: gold}}, aliases: [{alias: {name: by-label}}]}}";
    const OTHER: &str = "{type: NameSelector, nameSelector: {name: reviews, alias: {name: other}}}";
    const BROKEN: &str =
        "{type: LabelSelector, labelSelector: {selector: {matchExpressions: [{key: tier, operator: Like}]}}}";
    let cases = [
        (vec![NAME, LABEL], "by-name.bookinfo"),
        (vec![LABEL, NAME], "by-label.bookinfo"),
        (vec![OTHER, LABEL], "by-label.bookinfo"),
        (vec![BROKEN, NAME], "by-name.bookinfo"),
        (vec!["{type: NameSelector}", "{type: LabelSelector}", "{type: X}", NAME], "by-name.bookinfo"),
    ];
    for (rules, expected) in cases {
        let rules = format!("[{}]", rules.join(", "));
        assert_eq!(exported(&rules).as_deref(), Some(expected), "{rules}");
    }
}

/// Whether `{tier: gold}` is selected; `None` when the expression cannot be evaluated.
fn expression(text: &str) -> Option<bool> {
    let selector: LabelSelector = yaml(&format!("matchExpressions: [{text}]"));
    labels_match(&selector, &yaml("{tier: gold}"))
}

#[test]
fn label_expressions_mean_what_kubernetes_means() {
    for (text, expected) in [
        ("{key: tier, operator: In, values: [silver, gold]}", true),
        ("{key: tier, operator: In, values: [silver]}", false),
        ("{key: other, operator: In, values: [gold]}", false),
        ("{key: tier, operator: NotIn, values: [silver]}", true),
        ("{key: tier, operator: NotIn, values: [silver, gold]}", false),
        ("{key: other, operator: NotIn, values: [gold]}", true),
        ("{key: tier, operator: Exists}", true),
        ("{key: other, operator: Exists}", false),
        ("{key: tier, operator: DoesNotExist}", false),
        ("{key: other, operator: DoesNotExist}", true),
        ("{key: tier, operator: Exists}, {key: other, operator: Exists}", false),
        ("{key: other, operator: Exists}, {key: tier, operator: Exists}", false),
        ("{key: tier, operator: Exists}, {key: other, operator: DoesNotExist}", true),
    ] {
        assert_eq!(expression(text), Some(expected), "{text}");
    }
}

#[test]
fn label_expressions_that_kubernetes_refuses_select_nothing() {
    for text in [
        "{key: tier, operator: Like, values: [gold]}",
        "{key: tier, operator: in, values: [gold]}",
        "{key: tier, operator: ''}",
        "{key: other, operator: Exists}, {key: tier, operator: Like}",
        "{key: tier, operator: In, values: []}",
        "{key: other, operator: NotIn, values: []}",
        "{key: other, operator: NotIn}",
        "{key: tier, operator: Exists, values: [gold]}",
        "{key: other, operator: DoesNotExist, values: [gold]}",
    ] {
        assert_eq!(expression(text), None, "{text}");
    }
}

#[test]
fn export_rules_that_do_nothing_are_reported() {
    let selector = |index, type_: &str| RuleProblem::Selector { index, type_: type_.to_owned() };
    const GOOD: &str = "{type: NameSelector, nameSelector: {}}";
    const LIKE: &str = "labelSelector: {selector: {matchExpressions: [{key: a, operator: Like}]}}";
    for (rules, expected) in [
        ("".to_owned(), vec![]),
        (format!("{GOOD}, {{type: LabelSelector, labelSelector: {{}}}}"), vec![]),
        (
            "{type: LabelSelector, labelSelector: {selector: {matchExpressions: [{key: a, operator: Exists}]}}}".to_owned(),
            vec![],
        ),
        (format!("{GOOD}, {{type: NameSelector}}"), vec![selector(1, "NameSelector")]),
        ("{type: LabelSelector}".to_owned(), vec![selector(0, "LabelSelector")]),
        ("{type: NameSelector, labelSelector: {}}".to_owned(), vec![selector(0, "NameSelector")]),
        ("{type: LabelSelector, nameSelector: {}}".to_owned(), vec![selector(0, "LabelSelector")]),
        (
            format!("{{type: Everything, nameSelector: {{}}}}, {GOOD}, {{type: ''}}"),
            vec![selector(0, "Everything"), selector(2, "")],
        ),
        (format!("{GOOD}, {{type: LabelSelector, {LIKE}}}"), vec![RuleProblem::LabelSelector(1)]),
        (
            format!("{{type: NameSelector, {LIKE}}}"),
            vec![selector(0, "NameSelector"), RuleProblem::LabelSelector(0)],
        ),
    ] {
        let set: ExportedServiceSetSpec = yaml(&format!("exportRules: [{rules}]"));
        assert_eq!(ExportRules(&set).problems(), expected, "{rules}");
    }
}

fn import(set: &str) -> ImportedServiceSetSpec {
    yaml(set)
}

fn rules(set: &ImportedServiceSetSpec) -> ImportRules<'_> {
    ImportRules { set, peer: "east", cluster_domain: "cluster.local" }
}

/// What `set` makes of the offer ratings in namespace bookinfo of the peer east: `name namespace host`.
fn imported(set: &str) -> Option<String> {
    let set = import(set);
    let found = rules(&set).apply("ratings", "bookinfo")?;
    let local = if found.as_local { " local" } else { "" };
    Some(format!("{} {} {}{local}", found.name, found.namespace, found.host))
}

fn check_imports(rows: &[(&str, &str, Option<&str>)]) {
    for (what, set, expected) in rows {
        assert_eq!(imported(set).as_deref(), *expected, "{what}: {set}");
    }
}

#[test]
fn nothing_is_imported_without_a_rule_for_it() {
    const PLAIN: Option<&str> = Some("ratings bookinfo ratings.bookinfo.svc.east-imports.local");
    check_imports(&[
        ("no rules", "{}", None),
        ("a suffix is no rule", "{domainSuffix: svc.partner.example}", None),
        ("the name is named", "{importRules: [{type: NameSelector, nameSelector: {name: ratings}}]}", PLAIN),
        ("another name", "{importRules: [{type: NameSelector, nameSelector: {name: reviews}}]}", None),
        (
            "the namespace is named",
            "{importRules: [{type: NameSelector, nameSelector: {namespace: bookinfo}}]}",
            PLAIN,
        ),
        ("another namespace", "{importRules: [{type: NameSelector, nameSelector: {namespace: shop}}]}", None),
        (
            "the name in another namespace",
            "{importRules: [{type: NameSelector, nameSelector: {name: ratings, namespace: shop}}]}",
            None,
        ),
        (
            "another name in the namespace",
            "{importRules: [{type: NameSelector, nameSelector: {name: reviews, namespace: bookinfo}}]}",
            None,
        ),
        (
            "an empty selector is every offer",
            "{importRules: [{type: NameSelector, nameSelector: {}}]}",
            PLAIN,
        ),
        (
            "* is every offer",
            "{importRules: [{type: NameSelector, nameSelector: {name: '*', namespace: '*'}}]}",
            PLAIN,
        ),
        ("there are no globs", "{importRules: [{type: NameSelector, nameSelector: {name: 'rat*'}}]}", None),
        ("no selector", "{importRules: [{type: NameSelector}]}", None),
        ("labels select no imports", "{importRules: [{type: LabelSelector, nameSelector: {}}]}", None),
        ("a type that does not exist", "{importRules: [{type: Everything, nameSelector: {}}]}", None),
    ]);
}

#[test]
fn imports_get_their_name_and_domain_from_the_rule() {
    check_imports(&[
        (
            "an alias renames",
            "{importRules: [{type: NameSelector, nameSelector: {alias: {name: stars, namespace: shop}}}]}",
            Some("stars shop stars.shop.svc.east-imports.local"),
        ),
        (
            "* in an alias keeps the part",
            "{importRules: [{type: NameSelector, nameSelector: {alias: {name: '*', namespace: shop}}}]}",
            Some("ratings shop ratings.shop.svc.east-imports.local"),
        ),
        (
            "the set's suffix",
            "{domainSuffix: svc.set.example, importRules: [{type: NameSelector, nameSelector: {}}]}",
            Some("ratings bookinfo ratings.bookinfo.svc.set.example"),
        ),
        (
            "the rule's suffix wins over the set's",
            "{domainSuffix: svc.set.example, importRules: [{type: NameSelector, nameSelector: {}, domainSuffix: svc.rule.example}]}",
            Some("ratings bookinfo ratings.bookinfo.svc.rule.example"),
        ),
        (
            "importAsLocal gives a host of our own cluster",
            "{importRules: [{type: NameSelector, nameSelector: {alias: {namespace: shop}}, importAsLocal: true}]}",
            Some("ratings shop ratings.shop.svc.cluster.local local"),
        ),
        (
            "importAsLocal wins over suffixes",
            "{domainSuffix: svc.set.example, importRules: [{type: NameSelector, nameSelector: {alias: {namespace: shop}}, domainSuffix: svc.rule.example, importAsLocal: true}]}",
            Some("ratings shop ratings.shop.svc.cluster.local local"),
        ),
        (
            "the first rule that matches wins",
            "{importRules: [{type: NameSelector, nameSelector: {name: reviews, alias: {name: no}}}, {type: NameSelector, nameSelector: {alias: {name: first}}}, {type: NameSelector, nameSelector: {alias: {name: second}}}]}",
            Some("first bookinfo first.bookinfo.svc.east-imports.local"),
        ),
    ]);
}

#[test]
fn no_import_stands_for_our_own_services_unless_it_is_said() {
    check_imports(&[
        (
            "our own domain as the rule's suffix",
            "{importRules: [{type: NameSelector, nameSelector: {}, domainSuffix: svc.cluster.local}]}",
            None,
        ),
        (
            "our own domain as the set's suffix",
            "{domainSuffix: svc.cluster.local, importRules: [{type: NameSelector, nameSelector: {}}]}",
            None,
        ),
        (
            "our own domain in capitals",
            "{importRules: [{type: NameSelector, nameSelector: {}, domainSuffix: SVC.Cluster.Local}]}",
            None,
        ),
        (
            "our own domain with the dot of the root",
            "{importRules: [{type: NameSelector, nameSelector: {}, domainSuffix: svc.cluster.local.}]}",
            None,
        ),
        (
            "a domain that only begins like ours",
            "{importRules: [{type: NameSelector, nameSelector: {}, domainSuffix: svc.cluster.local.example}]}",
            Some("ratings bookinfo ratings.bookinfo.svc.cluster.local.example"),
        ),
        (
            "importAsLocal without an alias",
            "{importRules: [{type: NameSelector, nameSelector: {}, importAsLocal: true}]}",
            None,
        ),
        (
            "importAsLocal without a namespace",
            "{importRules: [{type: NameSelector, nameSelector: {alias: {name: stars}}, importAsLocal: true}]}",
            None,
        ),
        (
            "importAsLocal into any namespace",
            "{importRules: [{type: NameSelector, nameSelector: {alias: {namespace: '*'}}, importAsLocal: true}]}",
            None,
        ),
        (
            "a skipped rule leaves the offer to the next",
            "{importRules: [{type: NameSelector, nameSelector: {}, importAsLocal: true}, {type: NameSelector, nameSelector: {}}]}",
            Some("ratings bookinfo ratings.bookinfo.svc.east-imports.local"),
        ),
    ]);
}

#[test]
fn import_rules_that_do_nothing_are_reported() {
    const GOOD: &str = "{type: NameSelector, nameSelector: {}}";
    for (rule, expected) in [
        (GOOD, vec![]),
        ("{type: NameSelector, nameSelector: {alias: {namespace: shop}}, importAsLocal: true}", vec![]),
        ("{type: NameSelector}", vec![RuleProblem::Selector { index: 1, type_: "NameSelector".into() }]),
        (
            "{type: LabelSelector, nameSelector: {}}",
            vec![RuleProblem::Selector { index: 1, type_: "LabelSelector".into() }],
        ),
        (
            "{type: NameSelector, nameSelector: {alias: {namespace: '*'}}, importAsLocal: true}",
            vec![RuleProblem::LocalWithoutNamespace(1)],
        ),
        (
            "{type: NameSelector, nameSelector: {}, domainSuffix: svc.cluster.local}",
            vec![RuleProblem::OwnDomain(1)],
        ),
    ] {
        let set = import(&format!("importRules: [{GOOD}, {rule}]"));
        assert_eq!(rules(&set).problems(), expected, "{rule}");
    }
}
