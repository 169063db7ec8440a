//! Formats with command operators (`%START_TIME%`), as header values of VirtualServices and the access log have them
//! (Envoy documentation, "Access Logging: Command Operators").

/// Operators that have a value in our data plane and in Envoy.
pub const OPERATORS: &[&str] = &[
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_TLS_VERSION",
    "DURATION",
    "DYNAMIC_METADATA",
    "GRPC_STATUS",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "PROTOCOL",
    "REQ",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "RESP",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_TX_DURATION",
    "ROUTE_NAME",
    "START_TIME",
    "TRAILER",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
];

/// Operators that name a field of the request, the response or its trailers.
const OF_FIELDS: &[&str] = &["REQ", "RESP", "TRAILER"];

/// Judges a format.
///
/// # Errors
/// The first operator that is not one, or does not end.
pub fn check(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(tail) = after.strip_prefix('%') {
            rest = tail;
            continue;
        }
        let end = operator_end(after).ok_or_else(|| {
            format!("{text:?} has a % that begins no operator; write %% for a percent sign")
        })?;
        let (operator, tail) = after.split_at(end);
        check_operator(operator)?;
        rest = tail.strip_prefix('%').unwrap_or(tail);
    }
    Ok(())
}

/// Whether there is an operator in it.
pub fn has_operators(text: &str) -> bool {
    text.replace("%%", "").contains('%')
}

/// Position of the percent sign that ends an operator; arguments in parentheses may contain percent signs.
fn operator_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn check_operator(text: &str) -> Result<(), String> {
    let malformed =
        || format!("%{text}% is no operator: write %NAME%, %NAME(argument)% or %NAME(argument):length%");
    let (name, argument) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let (argument, length) = rest.rsplit_once(')').ok_or_else(malformed)?;
            let is_length = |digits: &str| digits.parse::<u32>().is_ok();
            if !length.is_empty() && !length.strip_prefix(':').is_some_and(is_length) {
                return Err(malformed());
            }
            (name, Some(argument))
        }
    };
    if !OPERATORS.contains(&name) {
        return Err(format!("%{name}% is not an operator that works here"));
    }
    let names_field = OF_FIELDS.contains(&name);
    let is_field = |argument: &str| !argument.is_empty() && argument.split('?').all(is_name);
    match argument {
        Some(argument) if names_field && !is_field(argument) => Err(malformed()),
        None if names_field || name == "DYNAMIC_METADATA" => Err(format!("%{name}% needs an argument")),
        Some("") if name == "DYNAMIC_METADATA" => Err(format!("%{name}% needs an argument")),
        Some(_) if !names_field && !matches!(name, "START_TIME" | "DYNAMIC_METADATA" | "GRPC_STATUS") => {
            Err(format!("%{name}% takes no argument"))
        }
        Some(format)
            if name == "GRPC_STATUS" && !matches!(format, "CAMEL_STRING" | "SNAKE_STRING" | "NUMBER") =>
        {
            Err(format!("%{text}%: CAMEL_STRING, SNAKE_STRING or NUMBER is expected"))
        }
        _ => Ok(()),
    }
}

fn is_name(text: &str) -> bool {
    let bare = text.strip_prefix(':').unwrap_or(text);
    !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_formats_are_taken() {
        for text in [
            "",
            "plain",
            "100%%",
            "%PROTOCOL%",
            "%REQ(:path)% %RESP(a?b):20%",
            "%START_TIME(%s.%3f)%%%",
            "%GRPC_STATUS(NUMBER)%",
            "%DYNAMIC_METADATA(a:b)%",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_begins_or_is_no_operator_is_refused() {
        for (text, reason) in [
            ("100%", "begins no operator"),
            ("%REQ(x", "begins no operator"),
            ("%NO_SUCH%", "%NO_SUCH% is not an operator"),
            ("% %", "is not an operator"),
            ("%REQ%", "needs an argument"),
            ("%REQ()%", "is no operator"),
            ("%REQ(a b)%", "is no operator"),
            ("%REQ(a)x%", "is no operator"),
            ("%REQ(a):x%", "is no operator"),
            ("%PROTOCOL(a)%", "takes no argument"),
            ("%GRPC_STATUS(x)%", "CAMEL_STRING"),
            ("%DYNAMIC_METADATA()%", "needs an argument"),
        ] {
            assert!(check(text).unwrap_err().contains(reason), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn percent_signs_are_no_operators() {
        assert!(has_operators("a%PROTOCOL%") && !has_operators("100%%") && !has_operators("a"));
    }
}
