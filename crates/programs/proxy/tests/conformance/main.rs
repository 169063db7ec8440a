//! HTTP conformance: the same requests through our proxy and through Envoy, from one bootstrap.
//!
//! A case (a text in `cases/`, see `script`) says what a client sends and how the backend answers, and holds the
//! transcript of what the client, the backend and the access log then show. Our proxy must give that transcript, and so
//! must the Envoy that `PORTOLAN_ENVOY` names. Where we differ by intent, the case says so and why.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod backend;
mod client;
mod message;
mod normalise;
mod proxy;
mod script;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use script::Case;

macro_rules! files {
    ($($name:literal,)*) => {
        /// The cases by theme.
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("cases/", $name, ".txt"))),)*];
    };
}

files! {
    "matching",
    "actions",
    "headers",
    "normalisation",
    "policy",
    "authorization",
    "resilience",
    "framing",
    "logging",
}

/// Cases that run at the same time on one proxy.
const PARALLEL: usize = 12;
/// Fields that nearly every message has; only their absence and other values are shown.
const USUAL_ANSWER: &[(&str, &str)] = &[("server", "envoy"), ("x-envoy-upstream-service-time", "<ms>")];
const USUAL_LOCAL: &[(&str, &str)] = &[("server", "envoy")];
const USUAL_REQUEST: &[(&str, &str)] =
    &[("x-envoy-expected-rq-timeout-ms", "15000"), ("x-forwarded-proto", "http"), ("x-request-id", "<uuid>")];

fn cases() -> Vec<Case> {
    FILES.iter().flat_map(|(name, text)| script::parse(name, text).1).collect()
}

/// Plays all cases through a program and returns their transcripts.
fn play_all(program: &str) -> Vec<String> {
    let cases = cases();
    let stage = backend::Stage::new(cases.clone());
    let proxy = proxy::Proxy::start(program, &stage);
    let next = AtomicUsize::new(0);
    let mut seen: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(at) else { return done };
                        let to = proxy.address(&case.listener);
                        done.push((at, to, client::play(case, at, to, &stage)));
                    }
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seen.sort_by_key(|(at, ..)| *at);
    let mut names: BTreeMap<u16, String> =
        proxy.ports.iter().map(|(name, port)| (*port, name.clone())).collect();
    let log = proxy.finish();
    let mut transcripts = Vec::new();
    for (at, to, clients) in seen {
        let mut out = String::new();
        let mut lines = String::new();
        let many = clients.len() > 1;
        for (number, client) in clients.iter().enumerate() {
            let mark = if many { format!("{}<", number + 1) } else { "<".to_owned() };
            for message in &client.messages {
                let start = message.start.strip_prefix("HTTP/1.1 ").unwrap_or(&message.start);
                let local = message.field("x-envoy-upstream-service-time").is_none();
                let interim = message.start.contains(" 100 ");
                let usual = match (interim, local) {
                    (true, _) => &[],
                    (_, true) => USUAL_LOCAL,
                    _ => USUAL_ANSWER,
                };
                client::show(&mut out, &mark, start, message, usual);
            }
            // Of an answer that the client did not wait for, only the body is of interest.
            let rest = client.rest.rsplit_once("\r\n\r\n").map_or(&*client.rest, |(_, body)| body);
            if !rest.is_empty() {
                let _ = writeln!(out, "{mark}   then {rest:?}");
            }
            if !client.end.is_empty() && client.end != "left" {
                let _ = writeln!(out, "{mark} ({})", client.end);
            }
            for line in log.get(&(client.own.to_string(), to.to_string())).into_iter().flatten() {
                let _ = writeln!(lines, "log {}", normalise::flags(&normalise::times(line)));
            }
            names.insert(client.own.port(), "client".into());
        }
        let mut requests = stage.requests(at);
        requests.sort_by(|a, b| a.backend.cmp(&b.backend));
        for request in requests {
            let mark = format!("@{}", request.backend);
            let start = request.message.start.strip_suffix(" HTTP/1.1").unwrap_or(&request.message.start);
            client::show(&mut out, &mark, start, &request.message, USUAL_REQUEST);
        }
        out.push_str(&lines);
        transcripts.push(normalise::ports(&out, &names));
        names.retain(|_, name| name != "client");
    }
    transcripts
}

/// Adds the cases that differ to the report.
fn report(text: &mut String, who: &str, wrong: &[(String, &str, &str)]) {
    if wrong.is_empty() {
        return;
    }
    let _ = writeln!(text, "{who} differs in {} cases (-wanted +got):", wrong.len());
    for (name, want, got) in wrong {
        let _ = writeln!(text, "== {name}");
        for line in diff(want, got) {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn diff<'a>(want: &'a str, got: &'a str) -> Vec<String> {
    let (want, got): (Vec<&str>, Vec<&str>) = (want.lines().collect(), got.lines().collect());
    let mut table = vec![vec![0usize; got.len() + 1]; want.len() + 1];
    for i in (0..want.len()).rev() {
        for j in (0..got.len()).rev() {
            table[i][j] = if want[i] == got[j] {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < want.len() || j < got.len() {
        if i < want.len() && j < got.len() && want[i] == got[j] {
            out.push(format!(" {}", want[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < want.len() && (j == got.len() || table[i + 1][j] >= table[i][j + 1]) {
            out.push(format!("-{}", want[i]));
            i += 1;
        } else {
            out.push(format!("+{}", got[j]));
            j += 1;
        }
    }
    out
}

fn envoy() -> Option<String> {
    Some(portolan_testing::needs::envoy()?.display().to_string())
}

#[test]
fn every_case_gives_its_transcript() {
    let cases = cases();
    let envoy = envoy();
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = envoy.as_ref().map(|program| scope.spawn(|| play_all(program)));
        (play_all(env!("CARGO_BIN_EXE_portolan-proxy")), theirs.map(|thread| thread.join().unwrap()))
    });
    if std::env::var_os("PORTOLAN_RECORD").is_some() {
        record(&cases, &ours, &theirs.expect("PORTOLAN_RECORD needs PORTOLAN_ENVOY"));
        return;
    }
    let name = |case: &Case| format!("{}: {}", case.file, case.name);
    let mut text = String::new();
    if let Some(theirs) = &theirs {
        let pairs = cases.iter().zip(theirs).filter(|(case, got)| case.expected != **got);
        let wrong: Vec<_> = pairs.map(|(case, got)| (name(case), &*case.expected, &**got)).collect();
        report(&mut text, "Envoy", &wrong);
    }
    let pairs = cases.iter().zip(&ours).filter(|(case, got)| case.wanted() != **got);
    let wrong: Vec<_> = pairs.map(|(case, got)| (name(case), case.wanted(), &**got)).collect();
    report(&mut text, "our proxy", &wrong);
    for case in &cases {
        if let Some((reason, differs)) = &case.different {
            assert!(*differs != case.expected, "{}: no longer true: {reason}", name(case));
        }
    }
    assert!(text.is_empty(), "{text}");
}

/// Writes the case files anew.
fn record(cases: &[Case], ours: &[String], theirs: &[String]) {
    for (file, text) in FILES {
        let (preface, _) = script::parse(file, text);
        let mut out = format!("{}\n", preface.trim_end());
        for ((case, ours), theirs) in
            cases.iter().zip(ours).zip(theirs).filter(|((case, _), _)| case.file == *file)
        {
            let different = case.different.as_ref().map(|(reason, _)| (reason.clone(), ours.clone()));
            out.push_str(&case.render(theirs, different.as_ref()));
        }
        let path = format!("{}/tests/conformance/cases/{file}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, format!("{}\n", out.trim_end())).unwrap();
    }
}
