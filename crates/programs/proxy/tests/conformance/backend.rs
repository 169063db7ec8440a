//! Backends: they record what they get and answer as the case says.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::message::{Message, PATIENCE, Reader};
use super::script::{Case, Play};

/// How long an answer is held that nobody releases: longer than any timeout of the bootstrap.
const HOLD: Duration = Duration::from_secs(2);

/// A request as it came in, with the name of the backend. The body is there when it was read.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) backend: String,
    pub(crate) message: Message,
}

/// What backends know about one case.
#[derive(Debug, Default)]
struct Progress {
    requests: Vec<Recorded>,
    released: bool,
    /// Requests whose body is on its way.
    reading: usize,
}

/// All backends of one proxy.
pub(crate) struct Stage {
    cases: Vec<Case>,
    progress: Mutex<HashMap<usize, Progress>>,
    changed: Condvar,
}

impl Stage {
    pub(crate) fn new(cases: Vec<Case>) -> Arc<Stage> {
        Arc::new(Stage { cases, progress: Mutex::default(), changed: Condvar::new() })
    }

    /// Starts a backend.
    pub(crate) fn open(self: &Arc<Self>, name: &str) -> SocketAddr {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (stage, name) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let (stage, name) = (stage.clone(), name.clone());
                std::thread::spawn(move || stage.serve(&name, stream));
            }
        });
        address
    }

    pub(crate) fn requests(&self, case: usize) -> Vec<Recorded> {
        self.wait(case, PATIENCE, |progress| progress.reading == 0);
        self.progress.lock().unwrap().get(&case).map(|one| one.requests.clone()).unwrap_or_default()
    }

    /// Waits for a number of requests of a case.
    pub(crate) fn wait_seen(&self, case: usize, count: usize) {
        self.wait(case, PATIENCE, |progress| progress.requests.len() >= count);
    }

    pub(crate) fn release(&self, case: usize) {
        self.progress.lock().unwrap().entry(case).or_default().released = true;
        self.changed.notify_all();
    }

    fn wait(&self, case: usize, longest: Duration, done: impl Fn(&Progress) -> bool) {
        let mut all = self.progress.lock().unwrap();
        let deadline = Instant::now() + longest;
        while !done(all.entry(case).or_default()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            all = self.changed.wait_timeout(all, left).unwrap().0;
        }
    }

    fn serve(&self, name: &str, stream: TcpStream) {
        let mut out = stream.try_clone().unwrap();
        let mut reader = Reader::new(stream);
        // Connections idle in the proxy's pools until the end of the run.
        let idle = Instant::now() + PATIENCE * 10;
        while let Ok(mut head) = reader.head_until(idle) {
            let case = head.field("x-case").and_then(|text| text.parse::<usize>().ok());
            let Some(case) = case.filter(|case| *case < self.cases.len()) else {
                let _ = reader.body(&mut head, false, false);
                let _ = out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
                continue;
            };
            let at = {
                let mut all = self.progress.lock().unwrap();
                let progress = all.entry(case).or_default();
                progress.reading += 1;
                let requests = &mut progress.requests;
                requests.push(Recorded { backend: name.to_owned(), message: head.clone() });
                requests.len() - 1
            };
            self.changed.notify_all();
            let ok = vec![Play::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())];
            let answers = &self.cases[case].answers;
            let answer = answers.get(at).or(answers.last()).unwrap_or(&ok);
            if answer.iter().any(|play| matches!(play, Play::Expect)) {
                let _ = out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !answer.iter().any(|play| matches!(play, Play::Early)) {
                let _ = reader.body(&mut head, false, false);
            }
            {
                let mut all = self.progress.lock().unwrap();
                let progress = all.entry(case).or_default();
                progress.reading -= 1;
                progress.requests[at].message = head.clone();
            }
            self.changed.notify_all();
            let mut drip = false;
            // What stands together leaves in one piece, so that the proxy reads it in one.
            let mut together = Vec::new();
            for play in answer {
                if !matches!(play, Play::Send(_)) {
                    let _ = out.write_all(&std::mem::take(&mut together));
                }
                match play {
                    Play::Send(data) if drip => {
                        for byte in data.chunks(1) {
                            let _ = out.write_all(byte);
                        }
                    }
                    Play::Send(data) => together.extend_from_slice(data),
                    Play::Hold => self.wait(case, HOLD, |progress| progress.released),
                    Play::Close => {
                        let _ = out.shutdown(std::net::Shutdown::Write);
                        let _ = reader.wait_for_end();
                        return;
                    }
                    Play::Reset => {
                        let _ = socket2::SockRef::from(&out).set_linger(Some(Duration::ZERO));
                        return;
                    }
                    Play::Drip => drip = true,
                    Play::Early | Play::Expect => {}
                }
            }
            let _ = out.write_all(&together);
            // Whatever else comes on a switched connection comes back.
            let switched =
                |play: &Play| matches!(play, Play::Send(data) if data.starts_with(b"HTTP/1.1 101"));
            if head.field("upgrade").is_some() && answer.iter().any(switched) {
                echo(&mut reader, &mut out);
                return;
            }
        }
    }
}

fn echo(reader: &mut Reader, out: &mut TcpStream) {
    let before = reader.raw.len() - reader.rest().len();
    let _ = reader.wait_for(b"bye");
    let data = reader.raw[before..].to_vec();
    let _ = out.write_all(&data);
    let _ = out.shutdown(std::net::Shutdown::Write);
    let _ = reader.wait_for_end();
}
