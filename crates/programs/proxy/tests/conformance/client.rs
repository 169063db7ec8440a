//! Plays the client's part of a case.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use super::backend::Stage;
use super::message::{Message, Reader, Stop};
use super::script::{Case, Step};

/// One connection of the client.
struct Client {
    out: Option<TcpStream>,
    /// What stands together in a case leaves in one piece.
    unsent: Vec<u8>,
    reader: Reader,
    /// Methods of requests that are not answered yet.
    open: std::collections::VecDeque<String>,
    seen: Vec<Message>,
    end: &'static str,
    own: SocketAddr,
}

/// What a client saw, and its addresses.
pub(crate) struct Seen {
    pub(crate) messages: Vec<Message>,
    /// How the connection ended: empty when it was left open.
    pub(crate) end: &'static str,
    pub(crate) own: SocketAddr,
    /// Bytes after the last message.
    pub(crate) rest: String,
}

impl Client {
    fn connect(to: SocketAddr) -> Client {
        let stream = super::proxy::connect(to);
        stream.set_nodelay(true).unwrap();
        let own = stream.local_addr().unwrap();
        let reader = Reader::new(stream.try_clone().unwrap());
        Client {
            out: Some(stream),
            unsent: Vec::new(),
            reader,
            open: std::collections::VecDeque::new(),
            seen: Vec::new(),
            end: "",
            own,
        }
    }

    fn write(&mut self, data: &[u8]) {
        self.unsent.extend_from_slice(data);
    }

    fn flush(&mut self) {
        if let Some(out) = &mut self.out {
            let _ = out.write_all(&std::mem::take(&mut self.unsent));
        }
    }

    /// Reads answers until every request has one.
    fn answered(&mut self) {
        while self.end.is_empty() && !self.open.is_empty() {
            let mut message = match self.reader.head() {
                Ok(message) => message,
                Err(stop) => return self.stop(stop),
            };
            let status = message.status();
            let interim = (100..200).contains(&status) && status != 101;
            let method = if interim { String::new() } else { self.open.pop_front().unwrap_or_default() };
            let bodiless = interim || method == "HEAD" || matches!(status, 101 | 204 | 304);
            if let Err(stop) = self.reader.body(&mut message, true, bodiless) {
                self.seen.push(message);
                return self.stop(stop);
            }
            let last = message.cut || message.until_close || message.has_token("connection", "close");
            self.seen.push(message);
            if last {
                match self.reader.wait_for_end() {
                    Ok(()) => self.end = "closed",
                    Err(stop) => self.stop(stop),
                }
            }
        }
    }

    fn stop(&mut self, stop: Stop) {
        self.end = match stop {
            Stop::Closed => "closed",
            Stop::TimedOut => "nothing more",
        };
    }
}

fn until(to: SocketAddr, status: u16, host: &str, path: &str) {
    let deadline = std::time::Instant::now() + super::message::PATIENCE;
    while std::time::Instant::now() < deadline {
        let mut probe = Client::connect(to);
        probe.write(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes());
        probe.flush();
        probe.open.push_back("GET".into());
        probe.answered();
        if probe.seen.iter().any(|message| message.status() == status) {
            return;
        }
    }
}

/// Plays the case with the number `at`.
pub(crate) fn play(case: &Case, at: usize, to: SocketAddr, stage: &Stage) -> Vec<Seen> {
    let mut clients: Vec<Client> = (0..case.clients()).map(|_| Client::connect(to)).collect();
    for (client, step) in &case.steps {
        if !matches!(step, Step::Start(..) | Step::Send(_)) {
            clients.iter_mut().for_each(Client::flush);
        }
        if let Step::Any(which) = step {
            let deadline = std::time::Instant::now() + super::message::PATIENCE;
            while std::time::Instant::now() < deadline
                && !which.iter().any(|one| clients[one - 1].reader.peek())
            {}
            continue;
        }
        let client = &mut clients[client - 1];
        match step {
            Step::Any(_) => {}
            Step::Until(status, host, path) => until(to, *status, host, path),
            Step::End => {
                client.answered();
                if client.end.is_empty() {
                    match client.reader.wait_for_end() {
                        Ok(()) => client.end = "closed",
                        Err(stop) => client.stop(stop),
                    }
                }
            }
            Step::Start(method, line) => {
                let mut data = line.clone();
                let _ = write!(data, "x-case: {at}\r\n");
                client.write(&data);
                client.open.push_back(method.clone());
            }
            Step::Send(data) => {
                client.write(data);
                // A request that is not one may be answered all the same.
                if client.seen.is_empty() && client.open.is_empty() {
                    client.open.push_back("GET".into());
                }
            }
            Step::Wait(text) => {
                let _ = client.reader.wait_for(text);
            }
            Step::Seen(count) => stage.wait_seen(at, *count),
            Step::Answered => client.answered(),
            Step::Shutdown => {
                if let Some(out) = &client.out {
                    let _ = out.shutdown(std::net::Shutdown::Write);
                }
            }
            Step::Close | Step::Reset => {
                if let (Step::Reset, Some(out)) = (step, &client.out) {
                    let _ = socket2::SockRef::from(out).set_linger(Some(std::time::Duration::ZERO));
                }
                client.out = None;
                client.reader.leave();
                client.end = "left";
            }
            Step::Release => stage.release(at),
        }
    }
    clients.iter_mut().for_each(Client::flush);
    clients.iter_mut().for_each(Client::answered);
    stage.release(at);
    clients
        .into_iter()
        .map(|client| Seen {
            rest: String::from_utf8_lossy(client.reader.rest()).into_owned(),
            messages: client.seen,
            end: client.end,
            own: client.own,
        })
        .collect()
}

/// The transcript of a message: first line, then sorted fields, body and trailers.
pub(crate) fn show(out: &mut String, mark: &str, start: &str, message: &Message, usual: &[(&str, &str)]) {
    let _ = writeln!(out, "{mark} {start}");
    let mut fields: Vec<(String, String)> = message
        .fields
        .iter()
        .filter(|(name, _)| !["x-case", "date"].iter().any(|hidden| name.eq_ignore_ascii_case(hidden)))
        .map(|(name, value)| (name.clone(), super::normalise::value(name, value)))
        .collect();
    for (name, value) in usual {
        match fields.iter().position(|(known, text)| known.eq_ignore_ascii_case(name) && text == value) {
            Some(at) => {
                fields.remove(at);
            }
            None if !fields.iter().any(|(known, _)| known == name) => {
                fields.push((format!("(no {name})"), String::new()))
            }
            None => {}
        }
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, value) in fields {
        let line = if name.starts_with('(') { name } else { format!("{name}: {value}") };
        let _ = writeln!(out, "{mark}   {}", line.trim_end());
    }
    if let Some(body) = message.shown_body() {
        let _ = writeln!(out, "{mark}   {body}");
    }
    for (name, value) in &message.trailers {
        let _ = writeln!(out, "{mark}   trailer {name}: {value}");
    }
    if message.cut {
        let _ = writeln!(out, "{mark}   (cut)");
    }
}
