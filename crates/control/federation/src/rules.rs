//! Export and import rules (docs/reference/federation.md): ordered, the first that matches wins.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use portolan_names::names;
use portolan_resources::federation::{
    ExportedServiceSetSpec, ImportedServiceRule, ImportedServiceSetSpec, LABEL_SELECTOR, NAME_SELECTOR,
    ServiceName, ServiceNameMapping,
};

/// A rule that does nothing, and why; shown in logs and status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleProblem {
    /// Neither selector type, or the selector of that type is missing.
    #[error("rule {index} has type {type_:?} but not the selector of that type; it is skipped")]
    Selector {
        /// Position, from 0.
        index: usize,
        /// The type that it states.
        type_: String,
    },
    /// importAsLocal needs a namespace to import into.
    #[error("import rule {0} has importAsLocal but no alias.namespace; it is skipped")]
    LocalWithoutNamespace(usize),
    /// A suffix that would let the peer stand for our own services.
    #[error(
        "import rule {0} has our own cluster domain as domainSuffix; use importAsLocal instead; it is skipped"
    )]
    OwnDomain(usize),
    /// A label selector that Kubernetes would refuse: an operator that does not exist, or values where none belong.
    #[error("export rule {0} has a label selector that cannot be evaluated; it is skipped")]
    LabelSelector(usize),
}

/// The rules of an ExportedServiceSet.
#[derive(Debug, Clone, Copy)]
pub struct ExportRules<'a>(pub &'a ExportedServiceSetSpec);

impl ExportRules<'_> {
    /// The name and namespace under which a service is exported; `None` when no rule names it.
    pub fn apply(
        &self,
        name: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> Option<(String, String)> {
        for rule in &self.0.export_rules {
            match rule.type_.as_str() {
                NAME_SELECTOR => {
                    let Some(selector) = &rule.name_selector else { continue };
                    if selects(selector, name, namespace) {
                        return Some(renamed(selector.alias.as_ref(), name, namespace));
                    }
                }
                LABEL_SELECTOR => {
                    let Some(selector) = &rule.label_selector else { continue };
                    let chosen = any_or(&selector.namespace, namespace)
                        && selector.selector.as_ref().is_none_or(|s| labels_match(s, labels) == Some(true));
                    if chosen {
                        let alias = selector.aliases.iter().find(|a| selects(a, name, namespace));
                        return Some(renamed(alias.and_then(|a| a.alias.as_ref()), name, namespace));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Rules that can never match.
    pub fn problems(&self) -> Vec<RuleProblem> {
        let mut problems = Vec::new();
        for (index, rule) in self.0.export_rules.iter().enumerate() {
            let complete = match rule.type_.as_str() {
                NAME_SELECTOR => rule.name_selector.is_some(),
                LABEL_SELECTOR => rule.label_selector.is_some(),
                _ => false,
            };
            if !complete {
                problems.push(RuleProblem::Selector { index, type_: rule.type_.clone() });
            }
            let selector = rule.label_selector.as_ref().and_then(|s| s.selector.as_ref());
            if selector.is_some_and(|s| labels_match(s, &BTreeMap::new()).is_none()) {
                problems.push(RuleProblem::LabelSelector(index));
            }
        }
        problems
    }
}

/// The rules of an ImportedServiceSet.
#[derive(Debug, Clone, Copy)]
pub struct ImportRules<'a> {
    /// The resource.
    pub set: &'a ImportedServiceSetSpec,
    /// Our name for the peer.
    pub peer: &'a str,
    /// DNS domain of our cluster.
    pub cluster_domain: &'a str,
}

/// Under which name a service of a peer is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportedAs {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) host: String,
    pub(crate) as_local: bool,
}

impl ImportRules<'_> {
    /// `None` when no rule imports the service: there is no default.
    pub(crate) fn apply(&self, name: &str, namespace: &str) -> Option<ImportedAs> {
        for (index, rule) in self.set.import_rules.iter().enumerate() {
            let Some(selector) = rule.name_selector.as_ref().filter(|_| rule.type_ == NAME_SELECTOR) else {
                continue;
            };
            if self.problem(index, rule).is_some() || !selects(selector, name, namespace) {
                continue;
            }
            let (name, namespace) = renamed(selector.alias.as_ref(), name, namespace);
            let host = format!("{name}.{namespace}.{}", self.suffix(rule));
            return Some(ImportedAs { name, namespace, host, as_local: rule.import_as_local });
        }
        None
    }

    fn suffix(&self, rule: &ImportedServiceRule) -> String {
        if rule.import_as_local {
            return self.own_suffix();
        }
        let given =
            [&rule.domain_suffix, &self.set.domain_suffix].into_iter().find(|suffix| !suffix.is_empty());
        given.cloned().unwrap_or_else(|| names::imports_domain(self.peer))
    }

    fn own_suffix(&self) -> String {
        format!("svc.{}", self.cluster_domain)
    }

    /// Rules that are skipped.
    pub fn problems(&self) -> Vec<RuleProblem> {
        let rules = self.set.import_rules.iter().enumerate();
        rules.filter_map(|(index, rule)| self.problem(index, rule)).collect()
    }

    fn problem(&self, index: usize, rule: &ImportedServiceRule) -> Option<RuleProblem> {
        if rule.type_ != NAME_SELECTOR || rule.name_selector.is_none() {
            return Some(RuleProblem::Selector { index, type_: rule.type_.clone() });
        }
        if rule.import_as_local {
            let alias = rule.name_selector.as_ref().and_then(|selector| selector.alias.as_ref());
            let named = alias.is_some_and(|alias| !alias.namespace.is_empty() && alias.namespace != "*");
            return (!named).then_some(RuleProblem::LocalWithoutNamespace(index));
        }
        // DNS knows neither case nor the dot of the root.
        let suffix = self.suffix(rule);
        let own = suffix.strip_suffix('.').unwrap_or(&suffix).eq_ignore_ascii_case(&self.own_suffix());
        own.then_some(RuleProblem::OwnDomain(index))
    }
}

/// Empty and `*` mean any; there are no partial globs.
fn any_or(pattern: &str, value: &str) -> bool {
    pattern.is_empty() || pattern == "*" || pattern == value
}

fn selects(selector: &ServiceNameMapping, name: &str, namespace: &str) -> bool {
    any_or(&selector.name, name) && any_or(&selector.namespace, namespace)
}

fn renamed(alias: Option<&ServiceName>, name: &str, namespace: &str) -> (String, String) {
    let part = |given: Option<&String>, original: &str| match given.map(String::as_str) {
        None | Some("" | "*") => original.to_owned(),
        Some(given) => given.to_owned(),
    };
    (part(alias.map(|a| &a.name), name), part(alias.map(|a| &a.namespace), namespace))
}

/// `None` when Kubernetes would refuse the selector: then nothing is selected. `In` and `NotIn` have values, `Exists`
/// and `DoesNotExist` have none, and there are no other operators.
fn labels_match(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Option<bool> {
    let mut matches = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key).is_some_and(|found| found == value));
    for requirement in selector.match_expressions.iter().flatten() {
        let found = labels.get(&requirement.key);
        let values = requirement.values.as_deref().unwrap_or_default();
        let among = found.is_some_and(|value| values.contains(value));
        matches &= match (requirement.operator.as_str(), values) {
            ("In", [_, ..]) => among,
            ("NotIn", [_, ..]) => !among,
            ("Exists", []) => found.is_some(),
            ("DoesNotExist", []) => found.is_none(),
            _ => return None,
        };
    }
    Some(matches)
}

#[cfg(test)]
mod tests;
