//! YAML as configuration files use it: YAML 1.2 booleans (`n` is a string), limits sized for generated files.

use serde_json::Value;

/// Nodes of a document: a generated file of the largest size that is read has fewer.
const MAX_NODES: usize = 5_000_000;
/// Parser events of a document, several per node.
const MAX_EVENTS: usize = 20_000_000;

/// Parses one document; the error is the parser's text with line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let budget = serde_saphyr::budget! {
        max_nodes: MAX_NODES,
        max_events: MAX_EVENTS,
        // One anchor that is used hundreds of times is how people write bootstrap files by hand; what aliases
        // may expand to stays bounded by the number of events.
        enforce_alias_anchor_ratio: false,
    };
    let options = serde_saphyr::options! { strict_booleans: true, budget: budget };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_and_false_are_booleans() {
        let value = parse("a: n\nb: true\nc: 'true'\nd: on\ne: 0.25s\nf: 12\n").unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": "n", "b": true, "c": "true", "d": "on", "e": "0.25s", "f": 12})
        );
    }

    #[test]
    fn anchors_may_be_used_often() {
        let text = format!("x: &x {{a: 1}}\nlist:\n{}", "- *x\n".repeat(500));
        assert_eq!(parse(&text).unwrap()["list"].as_array().unwrap().len(), 500);
    }
}
