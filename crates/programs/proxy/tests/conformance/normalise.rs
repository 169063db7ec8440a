//! What must differ between two runs gets a name: ports, request ids, times.

use std::collections::BTreeMap;

/// A field's value without what differs from run to run.
pub(crate) fn value(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "x-request-id" if is_uuid(value) => "<uuid>".into(),
        "x-envoy-upstream-service-time" if value.bytes().all(|byte| byte.is_ascii_digit()) => "<ms>".into(),
        // What is left of the default timeout.
        "x-envoy-expected-rq-timeout-ms"
            if value.parse::<u32>().is_ok_and(|left| (14_000..15_000).contains(&left)) =>
        {
            "15000".into()
        }
        // Envoy names the machine's first address when the client is on the loopback interface.
        "x-forwarded-for" => value
            .split(',')
            .map(|part| if is_own(part) { "<own>" } else { part })
            .collect::<Vec<_>>()
            .join(","),
        _ => value.to_owned(),
    }
}

/// Whether this machine has the address.
fn is_own(address: &str) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Names for ports: `127.0.0.1:1234` becomes `127.0.0.1:<main>`.
pub(crate) fn ports(text: &str, names: &BTreeMap<u16, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = &rest[..end];
        match number.parse::<u16>().ok().and_then(|port| names.get(&port)) {
            Some(name) => {
                out.push('<');
                out.push_str(name);
                out.push('>');
            }
            None if out.ends_with("127.0.0.1:") && number.len() > 3 => out.push_str("<port>"),
            None => out.push_str(number),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The digits of `time=` are zeros, those of `ms=` a number sign.
pub(crate) fn times(line: &str) -> String {
    let masked = line.split(' ').map(|word| {
        if word.starts_with("time=") {
            word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
        } else if let Some(number) = word.strip_prefix("ms=") {
            if number.bytes().all(|byte| byte.is_ascii_digit()) { "ms=#".to_owned() } else { word.to_owned() }
        } else {
            word.to_owned()
        }
    });
    masked.collect::<Vec<String>>().join(" ")
}

/// The response flags of a log line, its second word, by name: Envoy writes them as it finds them out, we in one order.
pub(crate) fn flags(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if let Some(flags) = words.get_mut(1) {
        let mut sorted: Vec<&str> = flags.split(',').collect();
        sorted.sort_unstable();
        *flags = sorted.join(",");
    }
    words.join(" ")
}
