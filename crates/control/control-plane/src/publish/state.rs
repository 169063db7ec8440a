//! What is held for whom.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use portolan_mesh::{Mesh, ProxyNode};
use portolan_translate::{Audience, AudiencesOf, Made, Piece, Pieces};
use tokio::sync::{Notify, watch};

use super::board::{Board, Changes};

/// The model, the audiences that there are, and the proxies that belong to them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mesh: Mesh,
    proxies: HashMap<Arc<ProxyNode>, Proxy>,
    audiences: HashMap<Audience, Held>,
    pieces: HashMap<Piece, Shared>,
}

/// A proxy that is connected, perhaps over several streams.
#[derive(Debug)]
struct Proxy {
    audiences: Arc<[Audience]>,
    boards: watch::Sender<Arc<[Arc<Board>]>>,
    streams: Vec<Arc<Notify>>,
}

/// An audience with its board.
#[derive(Debug, Default)]
struct Held {
    board: Arc<Board>,
    pieces: Arc<BTreeSet<Piece>>,
    proxies: usize,
    /// What is to be put on the board when all is settled.
    changes: Changes,
}

/// A piece and those who have it.
#[derive(Debug, Default)]
struct Shared {
    made: Made,
    audiences: Vec<Audience>,
}

impl State {
    pub(super) fn new(mesh: Mesh) -> Self {
        Self { mesh, proxies: HashMap::new(), audiences: HashMap::new(), pieces: HashMap::new() }
    }

    /// Takes in one stream of a proxy.
    pub(super) fn join(
        &mut self,
        node: Arc<ProxyNode>,
        wake: Arc<Notify>,
    ) -> watch::Receiver<Arc<[Arc<Board>]>> {
        if !self.proxies.contains_key(&node) {
            let proxy = Proxy {
                audiences: Arc::default(),
                boards: watch::Sender::new(Arc::default()),
                streams: Vec::new(),
            };
            self.proxies.insert(node.clone(), proxy);
            self.mesh.hold(&AudiencesOf(node.clone()));
            self.settle();
        }
        let Some(proxy) = self.proxies.get_mut(&node) else { return watch::channel(Arc::default()).1 };
        for board in proxy.boards.borrow().iter() {
            board.listen(&wake);
        }
        proxy.streams.push(wake);
        proxy.boards.subscribe()
    }

    /// Lets go of one stream of a proxy.
    pub(super) fn leave(&mut self, node: &Arc<ProxyNode>, wake: &Arc<Notify>) {
        let Some(proxy) = self.proxies.get_mut(node) else { return };
        proxy.streams.retain(|other| !Arc::ptr_eq(other, wake));
        for board in proxy.boards.borrow().iter() {
            board.leave(wake);
        }
        if !proxy.streams.is_empty() {
            return;
        }
        let audiences = proxy.audiences.clone();
        self.proxies.remove(node);
        self.mesh.release(&AudiencesOf(node.clone()));
        for audience in audiences.iter() {
            self.leave_audience(audience);
        }
    }

    /// Makes everything true, and puts on the boards what differs.
    pub(super) fn settle(&mut self) {
        let mut moved = Vec::new();
        loop {
            let changes = self.mesh.settle();
            if changes.is_empty() {
                break;
            }
            for of in changes.of::<AudiencesOf>() {
                self.seat(&of.0);
                moved.push(of.0.clone());
            }
            for of in changes.of::<Pieces>() {
                self.take_pieces(&of.0);
            }
            for piece in changes.of::<Piece>() {
                self.take_piece(piece);
            }
        }
        let mut differing = Vec::new();
        for held in self.audiences.values_mut() {
            if !held.changes.is_empty() {
                held.board.apply(&std::mem::take(&mut held.changes));
                differing.push(held.board.clone());
            }
        }
        // All boards are true before anybody looks.
        differing.iter().for_each(|board| board.wake());
        for node in moved {
            self.move_boards(&node);
        }
    }

    /// Gives a proxy the audiences that it belongs to now.
    fn seat(&mut self, node: &Arc<ProxyNode>) {
        let Some(now) = self.mesh.held(&AudiencesOf(node.clone())) else { return };
        let Some(proxy) = self.proxies.get_mut(node) else { return };
        let before = std::mem::replace(&mut proxy.audiences, now.clone());
        for audience in now.iter().filter(|a| !before.contains(a)) {
            let held = self.audiences.entry(audience.clone()).or_default();
            held.proxies += 1;
            if held.proxies == 1 {
                self.mesh.hold(&Pieces(audience.clone()));
            }
        }
        for audience in before.iter().filter(|a| !now.contains(a)) {
            self.leave_audience(audience);
        }
    }

    /// Hands a proxy's streams the boards of its audiences.
    fn move_boards(&mut self, node: &Arc<ProxyNode>) {
        let Some(proxy) = self.proxies.get(node) else { return };
        let boards: Arc<[Arc<Board>]> =
            proxy.audiences.iter().filter_map(|a| Some(self.audiences.get(a)?.board.clone())).collect();
        let before = proxy.boards.send_replace(boards.clone());
        for wake in &proxy.streams {
            before.iter().for_each(|board| board.leave(wake));
            boards.iter().for_each(|board| board.listen(wake));
            wake.notify_one();
        }
    }

    fn leave_audience(&mut self, audience: &Audience) {
        let Some(held) = self.audiences.get_mut(audience) else { return };
        held.proxies = held.proxies.saturating_sub(1);
        if held.proxies > 0 {
            return;
        }
        let Some(held) = self.audiences.remove(audience) else { return };
        self.mesh.release(&Pieces(audience.clone()));
        for piece in held.pieces.iter() {
            self.drop_piece(piece, audience);
        }
    }

    fn drop_piece(&mut self, piece: &Piece, audience: &Audience) {
        let Some(shared) = self.pieces.get_mut(piece) else { return };
        shared.audiences.retain(|other| other != audience);
        if shared.audiences.is_empty() {
            self.pieces.remove(piece);
            self.mesh.release(piece);
        }
    }

    /// An audience has other pieces.
    fn take_pieces(&mut self, audience: &Audience) {
        let Some(now) = self.mesh.held(&Pieces(audience.clone())) else { return };
        let Some(held) = self.audiences.get_mut(audience) else { return };
        let before = std::mem::replace(&mut held.pieces, now.clone());
        for piece in now.difference(&before) {
            let shared = self.pieces.entry(piece.clone()).or_default();
            if shared.audiences.is_empty() {
                self.mesh.hold(piece);
            } else {
                held.changes.replace(&[], &shared.made);
            }
            shared.audiences.push(audience.clone());
        }
        let gone: Vec<&Piece> = before.difference(&now).collect();
        for piece in &gone {
            if let Some(shared) = self.pieces.get(piece) {
                held.changes.replace(&shared.made, &[]);
            }
        }
        for piece in gone {
            self.drop_piece(piece, audience);
        }
    }

    /// A piece is different.
    fn take_piece(&mut self, piece: &Piece) {
        let Some(now) = self.mesh.held(piece) else { return };
        let Some(shared) = self.pieces.get_mut(piece) else { return };
        let before = std::mem::replace(&mut shared.made, now.clone());
        for audience in &shared.audiences {
            if let Some(held) = self.audiences.get_mut(audience) {
                held.changes.replace(&before, &now);
            }
        }
    }
}
