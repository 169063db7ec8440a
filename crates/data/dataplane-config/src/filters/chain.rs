//! Leads one request and its response through the filters that take part in it. Pure: the connection manager tells it
//! what happened and carries out what the filters ask for.

use http::StatusCode;

use super::held::Held;
use super::stream::{Event, Flow, StreamFilter, Token, View};
use crate::message::{LocalReply, ResponseHead};

/// Bytes that one filter may hold back of one body: Envoy's default `per_connection_buffer_limit_bytes`.
pub const MAX_HELD: usize = 1024 * 1024;

/// Which message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The request.
    Request = 0,
    /// The response.
    Response = 1,
}

/// The reason to answer instead of going on.
pub type Stopped = Box<LocalReply>;

/// The filters of one request, in order.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
    progress: [Progress; 2],
}

#[derive(Debug)]
struct Link {
    filter: Box<dyn StreamFilter>,
    /// By [`Side`].
    reads: [bool; 2],
    held: [Held; 2],
}

/// Requests pass the links from the first to the last, responses from the last to the first.
#[derive(Debug, Default)]
struct Progress {
    /// The head came.
    begun: bool,
    /// Nothing follows the head.
    headers_only: bool,
    /// Links that the head has passed.
    passed: usize,
    /// What has passed all of them.
    out: Held,
}

impl Chain {
    /// Adds a filter behind the others.
    pub fn push(&mut self, filter: Box<dyn StreamFilter>) {
        self.links.push(Link { filter, reads: [false; 2], held: Default::default() });
    }

    /// Whether the head has passed all filters.
    pub fn has_passed(&self, side: Side) -> bool {
        self.progress[side as usize].passed == self.links.len()
    }

    /// Whether a filter wants to see the body.
    pub fn reads(&self, side: Side) -> bool {
        self.links.iter().any(|link| link.reads[side as usize])
    }

    /// What of the body has passed all filters.
    pub fn take(&mut self, side: Side) -> Held {
        std::mem::take(&mut self.progress[side as usize].out)
    }

    /// The head of the request came.
    pub fn request(&mut self, x: &mut View<'_>, end: bool) -> Result<(), Stopped> {
        self.progress[0].begun = true;
        self.progress[0].headers_only = end;
        self.advance(Side::Request, x, None)
    }

    /// The head of the response came.
    pub fn response(&mut self, x: &mut View<'_>, head: &mut ResponseHead, end: bool) -> Result<(), Stopped> {
        self.progress[1].begun = true;
        self.progress[1].headers_only = end;
        self.advance(Side::Response, x, Some(head))
    }

    /// The head of an answer of our own came; nothing holds it up.
    pub fn local_response(&mut self, x: &mut View<'_>, head: &mut ResponseHead) {
        for at in (0..self.links.len()).rev() {
            let link = &mut self.links[at];
            x.link = at;
            let _ = link.filter.on_response(x, head, true);
        }
        x.reads = [false; 2];
        self.progress[1] =
            Progress { begun: true, headers_only: true, passed: self.links.len(), out: Held::default() };
    }

    /// A piece of a body came. `head`: that of the response while it is still here.
    pub fn body(
        &mut self,
        side: Side,
        x: &mut View<'_>,
        piece: Held,
        head: Option<&mut ResponseHead>,
    ) -> Result<(), Stopped> {
        self.carry(side, 0, x, piece, head)
    }

    /// Something that a filter asked for happened.
    pub fn event(
        &mut self,
        x: &mut View<'_>,
        at: Token,
        event: Event,
        mut head: Option<&mut ResponseHead>,
    ) -> Result<(), Stopped> {
        let Some(link) = self.links.get_mut(at.link) else { return Ok(()) };
        x.link = at.link;
        let flow = link.filter.on_event(x, event);
        note_reads(link, x);
        match flow {
            Flow::Pause => return Ok(()),
            Flow::Reply(reply) => return Err(reply),
            Flow::Continue => {}
        }
        for side in [Side::Request, Side::Response] {
            let position = self.position(side, at.link);
            let progress = &mut self.progress[side as usize];
            if progress.begun && progress.passed == position {
                progress.passed += 1;
                self.advance(side, x, head.as_deref_mut())?;
            }
            let held = std::mem::take(&mut self.links[at.link].held[side as usize]);
            if !held.is_empty() {
                self.carry(side, position + 1, x, held, head.as_deref_mut())?;
            }
        }
        Ok(())
    }

    /// Everything is over.
    pub fn end(&mut self, x: &mut View<'_>) {
        for (at, link) in self.links.iter_mut().enumerate() {
            x.link = at;
            link.filter.on_end(x);
        }
    }

    /// The link at a position of a side's order, and the other way round.
    fn position(&self, side: Side, at: usize) -> usize {
        match side {
            Side::Request => at,
            Side::Response => self.links.len() - 1 - at,
        }
    }

    /// Leads the head on from where it stands.
    fn advance(
        &mut self,
        side: Side,
        x: &mut View<'_>,
        mut head: Option<&mut ResponseHead>,
    ) -> Result<(), Stopped> {
        while !self.has_passed(side) {
            let at = self.position(side, self.progress[side as usize].passed);
            let end = self.progress[side as usize].headers_only;
            let link = &mut self.links[at];
            x.link = at;
            let flow = match (side, head.as_deref_mut()) {
                (Side::Request, _) => link.filter.on_request(x, end),
                (Side::Response, Some(head)) => link.filter.on_response(x, head, end),
                // The head has left already.
                (Side::Response, None) => Flow::Continue,
            };
            note_reads(link, x);
            match flow {
                Flow::Continue => self.progress[side as usize].passed += 1,
                Flow::Pause => return Ok(()),
                Flow::Reply(reply) => return Err(reply),
            }
        }
        Ok(())
    }

    /// Leads a part of the body on from a position.
    fn carry(
        &mut self,
        side: Side,
        from: usize,
        x: &mut View<'_>,
        mut part: Held,
        mut head: Option<&mut ResponseHead>,
    ) -> Result<(), Stopped> {
        for position in from..self.links.len() {
            let at = self.position(side, position);
            let stands_here = self.progress[side as usize].passed == position;
            let link = &mut self.links[at];
            let reads = link.reads[side as usize];
            if !reads && !stands_here {
                continue;
            }
            let held = &mut link.held[side as usize];
            if held.len() + part.len() > MAX_HELD && (stands_here || !held.is_empty()) {
                return Err(too_large(side));
            }
            held.append(part);
            if !reads {
                // The head waits here, and the body behind it.
                return Ok(());
            }
            x.link = at;
            let flow = match side {
                Side::Request => link.filter.on_request_body(x, held),
                Side::Response => link.filter.on_response_body(x, held),
            };
            note_reads(link, x);
            match flow {
                Flow::Continue => part = std::mem::take(&mut link.held[side as usize]),
                Flow::Pause => return Ok(()),
                Flow::Reply(reply) => return Err(reply),
            }
            if stands_here {
                self.progress[side as usize].passed += 1;
                self.advance(side, x, head.as_deref_mut())?;
            }
        }
        self.progress[side as usize].out.append(part);
        Ok(())
    }
}

fn note_reads(link: &mut Link, x: &mut View<'_>) {
    for (reads, asked) in link.reads.iter_mut().zip(std::mem::take(&mut x.reads)) {
        *reads |= asked;
    }
    if std::mem::take(&mut x.leaves_request) {
        link.reads[Side::Request as usize] = false;
    }
}

fn too_large(side: Side) -> Stopped {
    Box::new(match side {
        Side::Request => LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "request_payload_too_large")
            .body("Payload Too Large"),
        Side::Response => LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, "response_payload_too_large")
            .body("Internal Server Error"),
    })
}
