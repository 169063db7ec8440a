//! What a request wants, read from its method, path and query.

use http::Method;
use portolan_apimachinery::ApiStatus;

/// The query parameters.
#[derive(Debug, Default, Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Query {
        Query(url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The first value of a parameter; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True" | "t"))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiStatus> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiStatus::bad_request(format!("invalid value {text:?} for parameter {name}"))
                })
            })
            .transpose()
    }

    /// `dryRun`: only `All` is known.
    pub(crate) fn dry_run(&self) -> Result<bool, ApiStatus> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiStatus::bad_request(format!(
                "dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ))),
        }
    }
}

/// What is asked of the API, as authorization sees it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, ... or the HTTP method for what is not a resource.
    pub(crate) verb: &'static str,
    /// The decoded path.
    pub(crate) path: String,
    /// The resource, if the path names one.
    pub(crate) resource: Option<ResourcePath>,
    /// The query.
    pub(crate) query: Query,
    /// The query as it came, for what is passed on.
    pub(crate) raw_query: String,
    /// The HTTP method.
    pub(crate) method: Method,
}

/// A path below `/api/v1` or `/apis/G/V`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Empty for all namespaces and for objects of the cluster.
    pub(crate) namespace: String,
    pub(crate) plural: String,
    /// Empty for a collection.
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl RequestInfo {
    /// Reads a request; fails only for a path that is no valid text.
    pub(crate) fn parse(method: &Method, uri: &http::Uri) -> Result<RequestInfo, ApiStatus> {
        let mut segments = Vec::new();
        for segment in uri.path().split('/').filter(|segment| !segment.is_empty()) {
            let segment = percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map_err(|_| ApiStatus::bad_request("the path is not UTF-8"))?;
            segments.push(segment.into_owned());
        }
        let query = Query::parse(uri.query());
        let path = format!("/{}", segments.join("/"));
        let mut resource = resource_path(&segments);
        let verb = match &mut resource {
            Some(resource) => {
                let verb = verb(method, resource, &query);
                if matches!(verb, "list" | "watch")
                    && let Some(name) = named(&query)
                {
                    // As the real server does: who may list by name may use a rule with resourceNames.
                    if resource.name.is_empty() {
                        resource.name = name;
                    }
                }
                verb
            }
            None => method_name(method),
        };
        let raw_query = uri.query().unwrap_or_default().to_owned();
        Ok(RequestInfo { verb, path, resource, query, raw_query, method: method.clone() })
    }

    /// Requests that stay open: they count apart and have no deadline.
    pub(crate) fn is_long_running(&self) -> bool {
        self.verb == "watch" || self.resource.as_ref().is_some_and(|resource| resource.subresource == "log")
    }
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn verb(method: &Method, resource: &ResourcePath, query: &Query) -> &'static str {
    let collection = resource.name.is_empty();
    match *method {
        Method::GET | Method::HEAD if query.flag("watch") && resource.subresource.is_empty() => "watch",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that a field selector asks for.
fn named(query: &Query) -> Option<String> {
    let selector = query.get("fieldSelector")?;
    selector.split(',').find_map(|part| {
        part.strip_prefix("metadata.name=").map(|name| name.trim_start_matches('=').to_owned())
    })
}

fn resource_path(segments: &[String]) -> Option<ResourcePath> {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let mut path = ResourcePath { group: group.into(), version: version.into(), ..ResourcePath::default() };
    // `namespaces/N/status` and `namespaces/N/finalize` are of the namespace itself.
    let rest = match rest {
        ["namespaces", name, "status" | "finalize"] => {
            path.namespace = (*name).to_owned();
            rest
        }
        ["namespaces", namespace, plural, rest @ ..] => {
            path.namespace = (*namespace).to_owned();
            path.plural = (*plural).to_owned();
            path.name = rest.first().copied().unwrap_or_default().to_owned();
            path.subresource = rest.get(1).copied().unwrap_or_default().to_owned();
            return Some(path);
        }
        ["namespaces", name] => {
            path.namespace = (*name).to_owned();
            rest
        }
        _ => rest,
    };
    path.plural = (*rest.first()?).to_owned();
    path.name = rest.get(1).copied().unwrap_or_default().to_owned();
    path.subresource = rest.get(2).copied().unwrap_or_default().to_owned();
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, verb: &str, want: Option<[&str; 6]>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let info = RequestInfo::parse(&method, &uri.parse().unwrap()).unwrap();
        assert_eq!(info.verb, verb, "{uri}");
        let got = info.resource.map(|r| [r.group, r.version, r.namespace, r.plural, r.name, r.subresource]);
        assert_eq!(got, want.map(|parts| parts.map(str::to_owned)), "{uri}");
    }

    #[test]
    fn paths_and_verbs() {
        check("GET", "/healthz", "get", None);
        check("GET", "/apis", "get", None);
        check("GET", "/apis/apps/v1", "get", None);
        check("GET", "/api/v1/pods", "list", Some(["", "v1", "", "pods", "", ""]));
        check("GET", "/api/v1/pods?watch=1", "watch", Some(["", "v1", "", "pods", "", ""]));
        check("POST", "/api/v1/namespaces", "create", Some(["", "v1", "", "namespaces", "", ""]));
        check("GET", "/api/v1/namespaces/a", "get", Some(["", "v1", "a", "namespaces", "a", ""]));
        check(
            "PUT",
            "/api/v1/namespaces/a/finalize",
            "update",
            Some(["", "v1", "a", "namespaces", "a", "finalize"]),
        );
        check(
            "DELETE",
            "/api/v1/namespaces/a/pods",
            "deletecollection",
            Some(["", "v1", "a", "pods", "", ""]),
        );
        check("GET", "/api/v1/namespaces/a/pods/b/log", "get", Some(["", "v1", "a", "pods", "b", "log"]));
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            "patch",
            Some(["apps", "v1", "a", "deployments", "b", "scale"]),
        );
        check(
            "GET",
            "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Db",
            "list",
            Some(["", "v1", "a", "pods", "b", ""]),
        );
    }
}
