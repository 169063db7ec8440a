//! Role-based access control: the engine of `envoy.filters.http.rbac` and of `envoy.filters.network.rbac`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::matchers::{HeaderMatch, StringMatch};
use super::{ConnectionFacts, Request};
use crate::pb::{self, http_rbac, matcher, net_rbac, rbac};
use crate::value::{At as _, Invalid, Valid, cidr};

/// What a decision may depend on.
pub struct Subject<'a> {
    /// The connection.
    pub connection: &'a ConnectionFacts,
    /// `None`: a connection is judged.
    pub request: Option<&'a Request>,
    /// Client address after `x-forwarded-for`.
    pub remote: IpAddr,
    /// Dynamic metadata.
    pub metadata: &'a HashMap<String, pb::Struct>,
}

/// A compiled filter.
#[derive(Debug, Default)]
pub struct Rbac {
    rules: Option<Engine>,
    shadow: Option<Engine>,
    /// Prefix of the shadow metadata's keys.
    pub shadow_prefix: String,
}

/// The outcome of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may go on.
    pub allowed: bool,
    /// The policy that decided.
    pub policy: Option<String>,
}

#[derive(Debug)]
struct Engine {
    action: rbac::rbac::Action,
    /// Sorted by name, as Envoy evaluates them.
    policies: Vec<(String, Policy)>,
}

#[derive(Debug)]
struct Policy {
    permissions: Vec<Rule>,
    principals: Vec<Rule>,
}

#[derive(Debug)]
enum Rule {
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    Any,
    Header(HeaderMatch),
    Path(StringMatch),
    DestinationIp(IpNet),
    DestinationPort(std::ops::Range<u32>),
    ServerName(StringMatch),
    /// Without a name: any authenticated peer.
    Authenticated(Option<StringMatch>),
    DirectRemoteIp(IpNet),
    RemoteIp(IpNet),
    Metadata(MetadataMatch),
}

#[derive(Debug)]
struct MetadataMatch {
    namespace: String,
    path: Vec<String>,
    value: ValueMatch,
    invert: bool,
}

#[derive(Debug)]
enum ValueMatch {
    Null,
    Exact(f64),
    Range(f64, f64),
    String(StringMatch),
    Bool(bool),
    Present(bool),
    OneOf(Box<ValueMatch>),
    Or(Vec<ValueMatch>),
}

impl Rbac {
    /// Compiles the HTTP filter's message.
    pub fn compile_http(from: &http_rbac::Rbac) -> Valid<Rbac> {
        if from.matcher.is_some() || from.shadow_matcher.is_some() {
            return Err(Invalid::new("matcher trees are not supported"));
        }
        Ok(Rbac {
            rules: from.rules.as_ref().map(Engine::compile).transpose().at("rules")?,
            shadow: from.shadow_rules.as_ref().map(Engine::compile).transpose().at("shadow_rules")?,
            shadow_prefix: from.shadow_rules_stat_prefix.clone(),
        })
    }

    /// Compiles the network filter's message.
    pub fn compile_network(from: &net_rbac::Rbac) -> Valid<Rbac> {
        if from.matcher.is_some() || from.shadow_matcher.is_some() {
            return Err(Invalid::new("matcher trees are not supported"));
        }
        Ok(Rbac {
            rules: from.rules.as_ref().map(Engine::compile).transpose().at("rules")?,
            shadow: from.shadow_rules.as_ref().map(Engine::compile).transpose().at("shadow_rules")?,
            shadow_prefix: from.shadow_rules_stat_prefix.clone(),
        })
    }

    /// Whether there is nothing to decide.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none() && self.shadow.is_none()
    }

    /// The enforced decision; `None` when nothing is enforced.
    pub fn decide(&self, subject: &Subject<'_>) -> Option<Decision> {
        self.rules.as_ref().map(|engine| engine.decide(subject))
    }

    /// What the shadow rules would decide.
    pub fn shadow(&self, subject: &Subject<'_>) -> Option<Decision> {
        self.shadow.as_ref().map(|engine| engine.decide(subject))
    }
}

impl Engine {
    fn compile(from: &rbac::Rbac) -> Valid<Engine> {
        let action = rbac::rbac::Action::try_from(from.action).map_err(|_| Invalid::new("unknown action"))?;
        let mut policies = Vec::new();
        for (name, policy) in &from.policies {
            if policy.condition.is_some() || policy.checked_condition.is_some() {
                return Err(Invalid(format!("policy {name:?}: CEL conditions are not supported")));
            }
            let compiled = Policy {
                permissions: policy.permissions.iter().map(permission).collect::<Valid<_>>().at(name)?,
                principals: policy.principals.iter().map(principal).collect::<Valid<_>>().at(name)?,
            };
            policies.push((name.clone(), compiled));
        }
        policies.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Engine { action, policies })
    }

    fn decide(&self, subject: &Subject<'_>) -> Decision {
        let fits = |policy: &Policy| {
            policy.permissions.iter().any(|rule| rule.matches(subject))
                && policy.principals.iter().any(|rule| rule.matches(subject))
        };
        let policy = self.policies.iter().find(|(_, policy)| fits(policy)).map(|(name, _)| name.clone());
        let allowed = match self.action {
            rbac::rbac::Action::Allow => policy.is_some(),
            rbac::rbac::Action::Deny => policy.is_none(),
            rbac::rbac::Action::Log => true,
        };
        Decision { allowed, policy }
    }
}

impl Decision {
    /// Envoy's response code details of a denial.
    pub fn details(&self) -> String {
        let policy: String = self
            .policy
            .as_deref()
            .unwrap_or("none")
            .chars()
            // Details must not contain white space (they are one word of the access log).
            .map(|c| if c.is_whitespace() { '_' } else { c })
            .collect();
        format!("rbac_access_denied_matched_policy[{policy}]")
    }
}

fn permission(from: &rbac::Permission) -> Valid<Rule> {
    use rbac::permission::Rule as R;
    Ok(match from.rule.as_ref().ok_or_else(|| Invalid::new("empty permission"))? {
        R::AndRules(set) => Rule::And(set.rules.iter().map(permission).collect::<Valid<_>>()?),
        R::OrRules(set) => Rule::Or(set.rules.iter().map(permission).collect::<Valid<_>>()?),
        R::Any(true) => Rule::Any,
        R::Any(false) => Rule::Not(Box::new(Rule::Any)),
        R::Header(header) => Rule::Header(HeaderMatch::compile(header)?),
        R::UrlPath(path) => Rule::Path(url_path(path)?),
        R::DestinationIp(range) => Rule::DestinationIp(cidr(range)?),
        R::DestinationPort(port) => Rule::DestinationPort(*port..port.saturating_add(1)),
        R::DestinationPortRange(range) => {
            let (start, end) = (u32::try_from(range.start), u32::try_from(range.end));
            match (start, end) {
                (Ok(start), Ok(end)) => Rule::DestinationPort(start..end),
                _ => return Err(Invalid::new("negative port range")),
            }
        }
        R::Metadata(metadata) => Rule::Metadata(MetadataMatch::compile(metadata)?),
        R::SourcedMetadata(metadata) => sourced(metadata)?,
        R::NotRule(rule) => Rule::Not(Box::new(permission(rule)?)),
        R::RequestedServerName(name) => Rule::ServerName(StringMatch::compile(name)?),
        R::Matcher(_) | R::UriTemplate(_) => {
            return Err(Invalid::new("extension matchers are not supported"));
        }
    })
}

fn principal(from: &rbac::Principal) -> Valid<Rule> {
    use rbac::principal::Identifier as I;
    Ok(match from.identifier.as_ref().ok_or_else(|| Invalid::new("empty principal"))? {
        I::AndIds(set) => Rule::And(set.ids.iter().map(principal).collect::<Valid<_>>()?),
        I::OrIds(set) => Rule::Or(set.ids.iter().map(principal).collect::<Valid<_>>()?),
        I::Any(true) => Rule::Any,
        I::Any(false) => Rule::Not(Box::new(Rule::Any)),
        I::Authenticated(authenticated) => {
            Rule::Authenticated(authenticated.principal_name.as_ref().map(StringMatch::compile).transpose()?)
        }
        // `source_ip` is the deprecated name of the address that PROXY protocol may have set: the direct one here.
        I::SourceIp(range) | I::DirectRemoteIp(range) => Rule::DirectRemoteIp(cidr(range)?),
        I::RemoteIp(range) => Rule::RemoteIp(cidr(range)?),
        I::Header(header) => Rule::Header(HeaderMatch::compile(header)?),
        I::UrlPath(path) => Rule::Path(url_path(path)?),
        I::Metadata(metadata) => Rule::Metadata(MetadataMatch::compile(metadata)?),
        I::SourcedMetadata(metadata) => sourced(metadata)?,
        I::NotId(id) => Rule::Not(Box::new(principal(id)?)),
        I::FilterState(_) | I::Custom(_) => {
            return Err(Invalid::new("filter state and custom principals are not supported"));
        }
    })
}

fn sourced(from: &rbac::SourcedMetadata) -> Valid<Rule> {
    if from.metadata_source != rbac::MetadataSource::Dynamic as i32 {
        return Err(Invalid::new("route metadata is not supported"));
    }
    let metadata = from.metadata_matcher.as_ref().ok_or_else(|| Invalid::new("missing metadata_matcher"))?;
    Ok(Rule::Metadata(MetadataMatch::compile(metadata)?))
}

fn url_path(from: &matcher::PathMatcher) -> Valid<StringMatch> {
    match &from.rule {
        Some(matcher::path_matcher::Rule::Path(path)) => StringMatch::compile(path),
        None => Err(Invalid::new("empty path matcher")),
    }
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let connection = subject.connection;
        match self {
            Rule::And(rules) => rules.iter().all(|rule| rule.matches(subject)),
            Rule::Or(rules) => rules.iter().any(|rule| rule.matches(subject)),
            Rule::Not(rule) => !rule.matches(subject),
            Rule::Any => true,
            Rule::Header(header) => subject.request.is_some_and(|request| header.matches(request)),
            Rule::Path(path) => subject.request.is_some_and(|request| path.matches(request.path_only())),
            Rule::DestinationIp(range) => range.contains(&connection.local.ip().to_canonical()),
            Rule::DestinationPort(ports) => ports.contains(&u32::from(connection.local.port())),
            Rule::ServerName(name) => name.matches(connection.sni.as_deref().unwrap_or("")),
            Rule::Authenticated(None) => connection.peer().is_some(),
            Rule::Authenticated(Some(name)) => connection.peer().is_some_and(|peer| {
                let facts = &peer.facts;
                if !facts.uris.is_empty() {
                    facts.uris.iter().any(|uri| name.matches(uri))
                } else if !facts.dns_names.is_empty() {
                    facts.dns_names.iter().any(|dns| name.matches(dns))
                } else {
                    name.matches(&facts.subject)
                }
            }),
            Rule::DirectRemoteIp(range) => range.contains(&connection.remote.ip().to_canonical()),
            Rule::RemoteIp(range) => range.contains(&subject.remote.to_canonical()),
            Rule::Metadata(metadata) => metadata.matches(subject.metadata),
        }
    }
}

impl MetadataMatch {
    fn compile(from: &matcher::MetadataMatcher) -> Valid<MetadataMatch> {
        let key = |segment: &matcher::metadata_matcher::PathSegment| match &segment.segment {
            Some(matcher::metadata_matcher::path_segment::Segment::Key(key)) => Ok(key.clone()),
            None => Err(Invalid::new("empty path segment")),
        };
        Ok(MetadataMatch {
            namespace: from.filter.clone(),
            path: from.path.iter().map(key).collect::<Valid<_>>()?,
            value: ValueMatch::compile(
                from.value.as_ref().ok_or_else(|| Invalid::new("metadata matcher without value"))?,
            )?,
            invert: from.invert,
        })
    }

    fn matches(&self, metadata: &HashMap<String, pb::Struct>) -> bool {
        let mut fields = metadata.get(&self.namespace);
        let mut value = None;
        for key in &self.path {
            value = fields.and_then(|fields| fields.fields.get(key));
            fields = match value.and_then(|value| value.kind.as_ref()) {
                Some(pb::Kind::StructValue(inner)) => Some(inner),
                _ => None,
            };
        }
        self.value.matches(value) != self.invert
    }
}

impl ValueMatch {
    fn compile(from: &matcher::ValueMatcher) -> Valid<ValueMatch> {
        use matcher::double_matcher::MatchPattern as D;
        use matcher::value_matcher::MatchPattern as P;
        Ok(match from.match_pattern.as_ref().ok_or_else(|| Invalid::new("empty value matcher"))? {
            P::NullMatch(_) => ValueMatch::Null,
            P::DoubleMatch(double) => match double.match_pattern.as_ref() {
                Some(D::Exact(number)) => ValueMatch::Exact(*number),
                Some(D::Range(range)) => ValueMatch::Range(range.start, range.end),
                None => return Err(Invalid::new("empty double matcher")),
            },
            P::StringMatch(string) => ValueMatch::String(StringMatch::compile(string)?),
            P::BoolMatch(value) => ValueMatch::Bool(*value),
            P::PresentMatch(value) => ValueMatch::Present(*value),
            P::ListMatch(list) => match &list.match_pattern {
                Some(matcher::list_matcher::MatchPattern::OneOf(one)) => {
                    ValueMatch::OneOf(Box::new(ValueMatch::compile(one)?))
                }
                None => return Err(Invalid::new("empty list matcher")),
            },
            P::OrMatch(or) => {
                ValueMatch::Or(or.value_matchers.iter().map(ValueMatch::compile).collect::<Valid<_>>()?)
            }
        })
    }

    fn matches(&self, value: Option<&pb::Value>) -> bool {
        let kind = value.and_then(|value| value.kind.as_ref());
        match (self, kind) {
            (ValueMatch::Present(wanted), kind) => kind.is_some() == *wanted,
            (ValueMatch::Or(options), _) => options.iter().any(|option| option.matches(value)),
            (ValueMatch::Null, Some(pb::Kind::NullValue(_))) => true,
            (ValueMatch::Exact(wanted), Some(pb::Kind::NumberValue(number))) => wanted == number,
            (ValueMatch::Range(start, end), Some(pb::Kind::NumberValue(number))) => {
                number >= start && number < end
            }
            (ValueMatch::String(string), Some(pb::Kind::StringValue(text))) => string.matches(text),
            (ValueMatch::Bool(wanted), Some(pb::Kind::BoolValue(value))) => wanted == value,
            (ValueMatch::OneOf(one), Some(pb::Kind::ListValue(list))) => {
                list.values.iter().any(|value| one.matches(Some(value)))
            }
            _ => false,
        }
    }
}
