//! Label selectors in both forms: the text of `labelSelector=` and the LabelSelector object.

use serde_json::Value;

use crate::status::ApiStatus;
use crate::syntax;

/// Requirements in one selector; more is an attack, not a query.
const MAX_REQUIREMENTS: usize = 1000;

/// A label selector: requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Parses the text of `labelSelector=`: `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Empty selects everything.
    ///
    /// # Errors
    /// 400 that says what does not parse.
    pub fn parse(text: &str) -> Result<Self, ApiStatus> {
        let mut selector = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (requirement, after) = Requirement::parse(rest)
                .map_err(|why| ApiStatus::bad_request(format!("unable to parse requirement: {why}")))?;
            selector.push(requirement)?;
            rest = after.trim_start();
            if let Some(more) = rest.strip_prefix(',') {
                rest = more.trim_start();
                if rest.is_empty() {
                    return Err(ApiStatus::bad_request("unable to parse requirement: found '' after ','"));
                }
            } else if !rest.is_empty() {
                return Err(ApiStatus::bad_request(format!(
                    "unable to parse requirement: found '{rest}', expected: ',' or end of string"
                )));
            }
        }
        Ok(selector)
    }

    /// Reads a LabelSelector object (`matchLabels`, `matchExpressions`). `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// 400 for an unknown operator or bad values.
    pub fn from_object(selector: &Value) -> Result<Self, ApiStatus> {
        if selector.is_null() {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        }
        let mut out = Self::default();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            out.push(Requirement { key: key.clone(), operator: Operator::In(vec![value]) })?;
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let values: Vec<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|v| v.as_str().map(str::to_owned))
                .collect();
            let operator = match (text("operator"), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                (other, _) => {
                    return Err(ApiStatus::bad_request(format!(
                        "\"{other}\" is not a valid label selector operator for these values of key \"{}\": In and NotIn need values, Exists and DoesNotExist must have none",
                        text("key")
                    )));
                }
            };
            out.push(Requirement { key: text("key").to_owned(), operator })?;
        }
        Ok(out)
    }

    /// Whether an object's labels match. `labels` is `metadata.labels`; anything else than an object has none.
    pub fn matches(&self, labels: Option<&Value>) -> bool {
        let get = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        !self.nothing && self.requirements.iter().all(|r| r.operator.holds(get(&r.key)))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    fn push(&mut self, requirement: Requirement) -> Result<(), ApiStatus> {
        let fault = match &requirement.operator {
            Operator::In(values) | Operator::NotIn(values) => {
                values.iter().find_map(|v| syntax::label_value(v))
            }
            _ => None,
        };
        if let Some(why) = syntax::qualified(&requirement.key).or(fault) {
            return Err(ApiStatus::bad_request(format!(
                "unable to parse requirement: {}: {why}",
                requirement.key
            )));
        }
        if self.requirements.len() == MAX_REQUIREMENTS {
            return Err(ApiStatus::bad_request(format!(
                "a label selector has at most {MAX_REQUIREMENTS} requirements"
            )));
        }
        self.requirements.push(requirement);
        Ok(())
    }
}

impl Operator {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Self::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(limit) => number().is_some_and(|n| n > *limit),
            Self::LessThan(limit) => number().is_some_and(|n| n < *limit),
        }
    }
}

impl Requirement {
    fn parse(text: &str) -> Result<(Self, &str), String> {
        if let Some(rest) = text.strip_prefix('!') {
            let (key, rest) = word(rest.trim_start());
            return Ok((Self { key: key.to_owned(), operator: Operator::DoesNotExist }, rest));
        }
        let (key, rest) = word(text);
        let key = key.to_owned();
        let rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with(',') {
            return Ok((Self { key, operator: Operator::Exists }, rest));
        }
        for sign in ["==", "=", "!=", ">", "<"] {
            if let Some(after) = rest.strip_prefix(sign) {
                let (value, after) = word(after.trim_start());
                let number = || {
                    value.parse::<i64>().map_err(|_| format!("'{value}' must be an integer after '{sign}'"))
                };
                let operator = match sign {
                    "!=" => Operator::NotIn(vec![value.to_owned()]),
                    ">" => Operator::GreaterThan(number()?),
                    "<" => Operator::LessThan(number()?),
                    _ => Operator::In(vec![value.to_owned()]),
                };
                return Ok((Self { key, operator }, after));
            }
        }
        let (name, after) = word(rest);
        let Some(list) = after.trim_start().strip_prefix('(') else {
            return Err(format!("found '{rest}', expected: in, notin, =, ==, !=, >, <"));
        };
        let Some((inner, after)) = list.split_once(')') else {
            return Err(format!("found '{list}', expected: ')'"));
        };
        let values = inner.split(',').map(|v| v.trim().to_owned()).collect();
        match name {
            "in" => Ok((Self { key, operator: Operator::In(values) }, after)),
            "notin" => Ok((Self { key, operator: Operator::NotIn(values) }, after)),
            _ => Err(format!("found '{name}', expected: in, notin, =, ==, !=, >, <")),
        }
    }
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_selectors() {
        let labels = json!({"app": "web", "tier": "1", "istio.io/rev": ""});
        for (selector, want) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=1", true),
            ("app = web , tier in (1, 2)", true),
            ("app!=web", false),
            ("other!=x", true),
            ("app in (a,b)", false),
            ("app notin (a,b)", true),
            ("missing notin (a)", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("missing", false),
            ("tier>0", true),
            ("tier<1", false),
            ("istio.io/rev=", true),
            ("istio.io/rev", true),
        ] {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(Some(&labels)), want, "{selector}");
        }
        for bad in ["=a", "a=b,", "a in b", "a in (b", "a foo (b)", "a b", "a>x", "a=%", "-a=b", "a=b c"] {
            assert_eq!(LabelSelector::parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn selector_objects() {
        let labels = json!({"app": "web"});
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "app", "operator": "In", "values": ["web", "db"]}, {"key": "x", "operator": "DoesNotExist"}]});
        assert!(LabelSelector::from_object(&object).unwrap().matches(Some(&labels)));
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().matches(Some(&labels)));
        assert!(LabelSelector::from_object(&json!({})).unwrap().matches(None));
        let bad = json!({"matchExpressions": [{"key": "app", "operator": "In"}]});
        assert!(LabelSelector::from_object(&bad).is_err());
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let labels = json!({"n": "10", "t": "x"});
        for (selector, want) in
            [("n>9", true), ("n>10", false), ("n<11", true), ("n<10", false), ("t>1", false), ("t<1", false)]
        {
            assert_eq!(LabelSelector::parse(selector).unwrap().matches(Some(&labels)), want, "{selector}");
        }
    }

    #[test]
    fn selectors_say_whether_they_select_everything() {
        assert!(LabelSelector::parse("").unwrap().is_empty());
        assert!(!LabelSelector::parse("a").unwrap().is_empty());
        assert!(!LabelSelector::from_object(&Value::Null).unwrap().is_empty());
        assert!(LabelSelector::from_object(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn expressions_have_the_values_that_their_operator_needs() {
        let of = |operator: &str, values: Value| {
            let expression = json!({"key": "app", "operator": operator, "values": values});
            LabelSelector::from_object(&json!({"matchExpressions": [expression]}))
        };
        let labels = json!({"app": "web"});
        for (operator, values, want) in [
            ("In", json!(["web"]), Some(true)),
            ("NotIn", json!(["web"]), Some(false)),
            ("Exists", json!([]), Some(true)),
            ("DoesNotExist", json!([]), Some(false)),
            ("NotIn", json!([]), None),
            ("Exists", json!(["a"]), None),
            ("DoesNotExist", json!(["a"]), None),
            ("Like", json!(["a"]), None),
            ("In", json!(["a b"]), None),
        ] {
            let matched = of(operator, values.clone()).ok().map(|selector| selector.matches(Some(&labels)));
            assert_eq!(matched, want, "{operator} {values}");
        }
    }

    #[test]
    fn a_selector_has_no_more_requirements_than_allowed() {
        let of = |count: usize| LabelSelector::parse(&vec!["a"; count].join(","));
        assert!(of(MAX_REQUIREMENTS).is_ok());
        assert!(of(MAX_REQUIREMENTS + 1).unwrap_err().message.contains("at most 1000 requirements"));
    }
}
