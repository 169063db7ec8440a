//! The text of a case: what the client does, how the backend answers, and what both and the access log must show.
//!
//! ```text
//! == name                    starts a case
//! to edge                    listener, `main` unless said
//! raw                        nothing is added to the request (else `x-case: N` behind its first line)
//! > text                     the client sends a line (CR LF is added; \r \n \t \\ \xNN are bytes)
//! >= text                    the same without CR LF
//! >* 1000 x                  1000 times x
//! ! wait text                until the client got this;   ! seen 2: until backends got two requests of the case
//! ! answered                 until every request so far is answered
//! ! end                      until the proxy closes;   ! any 2 3: until one of these connections has an answer
//! ! until 503 host path      asks unrecorded until the status is that
//! ! shutdown, close, reset   what the client does with its connection;   ! release: held answers go on
//! 2> text, 2! wait           the same on another connection of the client
//! | text, |= text, |* 9 x    what the backend answers, `| 503` for an empty answer; `|--` begins the next answer
//! |! hold, close, reset, early, drip, expect   (see `backend`)
//! ```
//!
//! What follows is the transcript: `<` the client, `@name` a backend, `log` the access log. `ours: reason` begins
//! a transcript of our proxy that differs by intent, `known: reason` one that should not differ but does.
//! With `PORTOLAN_RECORD` set, transcripts are written into the files from what the proxies did: Envoy's above,
//! ours below such a line.

use std::fmt::Write as _;

/// One thing that a client does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// The first line of a request, with its method.
    Start(String, Vec<u8>),
    Wait(Vec<u8>),
    Seen(usize),
    Answered,
    Shutdown,
    Close,
    Reset,
    Release,
    /// Until the proxy closes.
    End,
    /// Until the first of these connections is answered.
    Any(Vec<usize>),
    /// Asks for a path of a host, unrecorded, until the answer has this status.
    Until(u16, String, String),
}

/// One thing that a backend does.
#[derive(Debug, Clone)]
pub(crate) enum Play {
    Send(Vec<u8>),
    Hold,
    Close,
    Reset,
    /// Do not read the body first.
    Early,
    /// Send what follows byte by byte.
    Drip,
    /// Send `100 Continue` before the body is read.
    Expect,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    pub(crate) file: &'static str,
    pub(crate) name: String,
    pub(crate) listener: String,
    /// The lines of the case before its transcript, to be written back.
    source: Vec<String>,
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) answers: Vec<Vec<Play>>,
    pub(crate) expected: String,
    /// `ours: reason` or `known: reason`, and the transcript.
    pub(crate) different: Option<(String, String)>,
}

pub(crate) fn parse(file: &'static str, text: &str) -> (String, Vec<Case>) {
    let mut preface = String::new();
    let mut cases: Vec<Case> = Vec::new();
    let mut raw = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case {
                file,
                name: name.to_owned(),
                listener: "main".into(),
                source: vec![line.to_owned()],
                ..Case::default()
            });
            raw = false;
            continue;
        }
        let Some(case) = cases.last_mut() else {
            let _ = writeln!(preface, "{line}");
            continue;
        };
        if line.is_empty() {
            continue;
        }
        if line.starts_with("ours: ") || line.starts_with("known: ") {
            case.different = Some((line.to_owned(), String::new()));
            continue;
        }
        if is_transcript(line) {
            let into = case.different.as_mut().map_or(&mut case.expected, |(_, text)| text);
            let _ = writeln!(into, "{line}");
            continue;
        }
        case.source.push(line.to_owned());
        if line == "raw" {
            raw = true;
        } else if let Some(listener) = line.strip_prefix("to ") {
            case.listener = listener.to_owned();
        } else if !line.starts_with('#') {
            step(case, line, raw);
        }
    }
    (preface, cases)
}

fn is_transcript(line: &str) -> bool {
    let bare = line.trim_start_matches(|c: char| c.is_ascii_digit());
    bare.starts_with('<') || line.starts_with('@') || line.starts_with("log ")
}

fn step(case: &mut Case, line: &str, raw: bool) {
    let place = format!("{}: {}: {line:?}", case.file, case.name);
    if let Some(rest) = line.strip_prefix('|') {
        if case.answers.is_empty() || rest == "--" {
            case.answers.push(Vec::new());
        }
        let answer = case.answers.last_mut().unwrap();
        match rest {
            "--" => {}
            "! hold" => answer.push(Play::Hold),
            "! close" => answer.push(Play::Close),
            "! reset" => answer.push(Play::Reset),
            "! early" => answer.push(Play::Early),
            "! drip" => answer.push(Play::Drip),
            "! expect" => answer.push(Play::Expect),
            rest => match rest.trim().parse::<u16>() {
                Ok(code) if code >= 200 => answer
                    .push(Play::Send(format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n").into_bytes())),
                _ => answer.push(Play::Send(bytes(rest, &place))),
            },
        }
        return;
    }
    let (client, rest) = match line.as_bytes()[0] {
        digit @ b'1'..=b'9' => (usize::from(digit - b'0'), &line[1..]),
        _ => (1, line),
    };
    let step = if let Some(rest) = rest.strip_prefix('>') {
        let data = bytes(rest, &place);
        let words: Vec<&str> = rest.trim().split(' ').collect();
        let starts = words.len() == 3
            && words[2].starts_with("HTTP/1.")
            && words[0].bytes().all(|byte| byte.is_ascii_uppercase());
        if starts && !raw { Step::Start(words[0].to_owned(), data) } else { Step::Send(data) }
    } else if let Some(rest) = rest.strip_prefix("! ") {
        match rest.split_once(' ').unwrap_or((rest, "")) {
            ("wait", text) => Step::Wait(escaped(text)),
            ("seen", count) => Step::Seen(count.parse().unwrap()),
            ("answered", _) => Step::Answered,
            ("shutdown", _) => Step::Shutdown,
            ("close", _) => Step::Close,
            ("reset", _) => Step::Reset,
            ("release", _) => Step::Release,
            ("end", _) => Step::End,
            ("until", rest) => {
                let words: Vec<&str> = rest.split(' ').collect();
                Step::Until(words[0].parse().unwrap(), words[1].to_owned(), words[2].to_owned())
            }
            ("any", which) => Step::Any(which.split(' ').map(|one| one.parse().unwrap()).collect()),
            _ => panic!("{place}: unknown step"),
        }
    } else {
        panic!("{place}: unknown line");
    };
    case.steps.push((client, step));
}

/// `text`, `= text` or `* 3 x`.
fn bytes(rest: &str, place: &str) -> Vec<u8> {
    if let Some(rest) = rest.strip_prefix("= ") {
        return escaped(rest);
    }
    if let Some(rest) = rest.strip_prefix("* ") {
        let (count, text) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: count and text"));
        return escaped(text).repeat(count.parse().unwrap_or_else(|_| panic!("{place}: count")));
    }
    let mut data = escaped(rest.strip_prefix(' ').unwrap_or(rest));
    data.extend_from_slice(b"\r\n");
    data
}

fn escaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'x') => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            other => out.extend(other),
        }
    }
    out
}

impl Case {
    pub(crate) fn clients(&self) -> usize {
        self.steps.iter().map(|(client, _)| *client).max().unwrap_or(1)
    }

    /// The transcript that our proxy must give.
    pub(crate) fn wanted(&self) -> &str {
        self.different.as_ref().map_or(&self.expected, |(_, text)| text)
    }

    /// The text of the case with these transcripts.
    pub(crate) fn render(&self, expected: &str, different: Option<&(String, String)>) -> String {
        let mut out = format!("\n{}\n{expected}", self.source.join("\n"));
        if let Some((reason, text)) = different {
            let _ = write!(out, "{reason}\n{text}");
        }
        out
    }
}
