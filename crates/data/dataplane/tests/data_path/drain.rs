//! What happens to connections when their listener drains.

use std::io::{Read, Write};

use crate::support::*;

fn drain(plane: &Plane) {
    plane.plane.config().drain(portolan_dataplane::config::DrainKind::All);
}

#[test]
fn a_draining_listener_takes_no_connection() {
    let plane = Plane::new();
    let at = plane.simple(&[]);
    connect(at);
    drain(&plane);
    eventually("nobody to accept", || std::net::TcpStream::connect(at).err());
}

#[test]
fn an_idle_connection_is_closed_at_once() {
    let backend = Backend::ok("x");
    let plane = Plane::patient();
    let at = plane.simple(&[backend.address]);
    let mut idle = connect(at);
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(status(&read_message(&mut idle).unwrap()), 200);
    drain(&plane);
    assert_eq!(idle.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_connection_that_never_spoke_is_closed_at_once() {
    let plane = Plane::patient();
    let at = plane.simple(&[]);
    let mut silent = connect(at);
    plane.until("http.test.downstream_cx_active", 1);
    drain(&plane);
    assert_eq!(silent.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_request_under_way_is_finished() {
    let (answer, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::new(move |_, _| {
        told.lock().unwrap().recv().unwrap();
        respond(200, "late")
    });
    let plane = Plane::patient();
    let at = plane.simple(&[backend.address]);
    let mut stream = connect(at);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    eventually("a request", || (backend.count() == 1).then_some(()));
    drain(&plane);
    answer.send(()).unwrap();
    assert_eq!(body(&read_message(&mut stream).unwrap()), "late");
}

#[test]
fn a_request_under_way_is_cut_at_the_deadline() {
    let backend = Backend::silent();
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let mut stream = connect(at);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    eventually("a request", || (backend.count() == 1).then_some(()));
    drain(&plane);
    // Without an answer: there is none.
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    plane.until("http.test.downstream_rq_active", 0);
    assert_eq!(plane.stat("http.test.downstream_rq_rx_reset"), 1);
}

#[test]
fn a_request_body_under_way_is_cut_at_the_deadline() {
    let backend = Backend::silent();
    let plane = Plane::new();
    let at = plane.simple(&[backend.address]);
    let mut stream = connect(at);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123").unwrap();
    plane.until("http.test.downstream_rq_active", 1);
    drain(&plane);
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
}
