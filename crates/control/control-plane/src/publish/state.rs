//! What is held for whom.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
};

use portolan_derive::{Changes as Settled, Derived};
use portolan_mesh::{Mesh, ProxyNode};
use portolan_translate::{Audience, AudiencesOf, Limitation, LimitationsOf, Made, Piece, Pieces};
use tokio::sync::{Notify, watch};

use super::{
    board::{Board, Changes},
    vet::{Refusal, vet},
};

/// The boards of a proxy.
pub(super) type Seat = Arc<[Arc<Board>]>;

/// The model, the audiences that there are, and the proxies that belong to them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) mesh: Mesh,
    proxies: HashMap<Arc<ProxyNode>, Proxy>,
    audiences: HashMap<Audience, Held>,
    pieces: HashMap<Piece, Shared>,
    /// Audiences with changes that are not on their boards yet.
    touched: HashSet<Audience>,
    followers: Vec<Box<dyn Follower>>,
    /// What was refused since somebody last asked; the same may be refused in several views.
    pub(super) refused: BTreeSet<Refusal>,
}

/// A proxy that is connected, perhaps over several streams.
#[derive(Debug)]
struct Proxy {
    audiences: Arc<[Audience]>,
    boards: watch::Sender<Seat>,
    limitations: watch::Sender<Arc<[Limitation]>>,
    streams: Vec<Arc<Notify>>,
}

/// What a stream of a proxy looks at.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) boards: watch::Receiver<Seat>,
    pub(super) limitations: watch::Receiver<Arc<[Limitation]>>,
}

/// Those who are to look after a settling.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Woken {
    boards: Vec<Arc<Board>>,
    streams: Vec<Arc<Notify>>,
}

impl Woken {
    pub(super) fn wake(self) {
        self.boards.iter().for_each(|board| board.wake());
        self.streams.iter().for_each(|stream| stream.notify_one());
    }
}

/// Somebody who wants to have one value.
trait Follower: Debug + Send {
    fn see(&self, mesh: &Mesh, settled: &Settled);
}

#[derive(Debug)]
struct Following<D: Derived> {
    key: D,
    values: watch::Sender<Option<D::Value>>,
}

impl<D: Derived<Value: Debug>> Follower for Following<D> {
    fn see(&self, mesh: &Mesh, settled: &Settled) {
        if settled.of::<D>().any(|key| *key == self.key)
            && let Some(value) = mesh.held(&self.key)
        {
            self.values.send_replace(Some(value));
        }
    }
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
    /// What is on the boards of it.
    made: Made,
    audiences: Vec<Audience>,
    /// What is not, because our proxies would not take it.
    refused: Vec<Refusal>,
}

impl State {
    pub(super) fn new(mesh: Mesh) -> Self {
        Self {
            mesh,
            proxies: HashMap::new(),
            audiences: HashMap::new(),
            pieces: HashMap::new(),
            touched: HashSet::new(),
            followers: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Has a value kept. It is told from the next settling on.
    pub(super) fn follow<D: Derived<Value: Debug>>(&mut self, key: D) -> watch::Receiver<Option<D::Value>> {
        self.mesh.hold(&key);
        let (values, receiver) = watch::channel(None);
        self.followers.push(Box::new(Following { key, values }));
        receiver
    }

    /// What is not on any board because our proxies would not take it.
    pub(super) fn refusals(&self) -> BTreeSet<Refusal> {
        self.pieces.values().flat_map(|shared| &shared.refused).cloned().collect()
    }

    /// Takes in one stream of a proxy.
    pub(super) fn join(&mut self, node: &Arc<ProxyNode>, stream: &Arc<Notify>) -> Sight {
        if !self.proxies.contains_key(node) {
            let proxy = Proxy {
                audiences: Arc::default(),
                boards: watch::Sender::new(Arc::default()),
                limitations: watch::Sender::new(Arc::default()),
                streams: Vec::new(),
            };
            self.proxies.insert(node.clone(), proxy);
            self.mesh.hold(&AudiencesOf(node.clone()));
            self.mesh.hold(&LimitationsOf(node.clone()));
            // Those who are there already: whoever comes looks at everything.
            self.settle().wake();
        }
        let Some(proxy) = self.proxies.get_mut(node) else {
            // It has just been put there.
            let (boards, limitations) = (watch::channel(Arc::default()).1, watch::channel(Arc::default()).1);
            return Sight { boards, limitations };
        };
        proxy.boards.borrow().iter().for_each(|board| board.listen(stream));
        proxy.streams.push(stream.clone());
        // What there is so far is news to this stream.
        let mut limitations = proxy.limitations.subscribe();
        limitations.mark_changed();
        Sight { boards: proxy.boards.subscribe(), limitations }
    }

    /// Lets go of one stream of a proxy.
    pub(super) fn leave(&mut self, node: &Arc<ProxyNode>, stream: &Arc<Notify>) {
        let Some(proxy) = self.proxies.get_mut(node) else { return };
        proxy.streams.retain(|other| !Arc::ptr_eq(other, stream));
        proxy.boards.borrow().iter().for_each(|board| board.leave(stream));
        if !proxy.streams.is_empty() {
            return;
        }
        let audiences = proxy.audiences.clone();
        self.proxies.remove(node);
        self.mesh.release(&AudiencesOf(node.clone()));
        self.mesh.release(&LimitationsOf(node.clone()));
        for audience in audiences.iter() {
            self.leave_audience(audience);
        }
    }

    /// Makes everything true, and puts on the boards what differs.
    pub(super) fn settle(&mut self) -> Woken {
        let mut moved = Vec::new();
        let mut woken = Woken::default();
        loop {
            let settled = self.mesh.settle();
            if settled.is_empty() {
                break;
            }
            for of in settled.of::<AudiencesOf>() {
                self.seat(&of.0);
                moved.push(of.0.clone());
            }
            for of in settled.of::<Pieces>() {
                self.take_pieces(&of.0);
            }
            for piece in settled.of::<Piece>() {
                self.take_piece(piece);
            }
            for of in settled.of::<LimitationsOf>() {
                woken.streams.extend(self.tell_limitations(of));
            }
            self.followers.iter().for_each(|follower| follower.see(&self.mesh, &settled));
        }
        self.put_on_boards(&mut woken);
        for node in moved {
            woken.streams.extend(self.move_boards(&node));
        }
        woken
    }

    /// Puts what has changed on the boards. Somebody may look in between for a reason of its own, and what is spoken of has
    /// to be there: endpoints before the clusters that they are of. What moves from a board to one that several namespaces
    /// share, or back, is on one of them at any time: nothing is taken away before everything is there, and what goes
    /// before something that is shared comes first.
    fn put_on_boards(&mut self, woken: &mut Woken) {
        let mut touched: Vec<Audience> = std::mem::take(&mut self.touched).into_iter().collect();
        touched.sort_by_key(|audience| {
            let kind = match audience {
                Audience::Place(_) => 0,
                Audience::Everybody => 1,
                Audience::Proxy(_) => 2,
                Audience::View(_) => 3,
            };
            (kind, audience.is_common())
        });
        let mut gone = Vec::new();
        for audience in touched {
            let Some(held) = self.audiences.get_mut(&audience) else { continue };
            let (put, rest) = std::mem::take(&mut held.changes).split();
            held.board.apply(put);
            gone.push((held.board.clone(), rest));
        }
        for (board, rest) in gone {
            board.apply(rest);
            woken.boards.push(board);
        }
    }

    fn tell_limitations(&self, of: &LimitationsOf) -> Vec<Arc<Notify>> {
        let (Some(found), Some(proxy)) = (self.mesh.held(of), self.proxies.get(&of.0)) else {
            return Vec::new();
        };
        proxy.limitations.send_replace(found);
        proxy.streams.clone()
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
    fn move_boards(&self, node: &Arc<ProxyNode>) -> Vec<Arc<Notify>> {
        let Some(proxy) = self.proxies.get(node) else { return Vec::new() };
        let boards: Seat =
            proxy.audiences.iter().filter_map(|a| Some(self.audiences.get(a)?.board.clone())).collect();
        let before = proxy.boards.send_replace(boards.clone());
        for stream in &proxy.streams {
            before.iter().for_each(|board| board.leave(stream));
            boards.iter().for_each(|board| board.listen(stream));
        }
        proxy.streams.clone()
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
                held.changes.replace(&Made::default(), &shared.made);
            }
            shared.audiences.push(audience.clone());
        }
        let gone: Vec<&Piece> = before.difference(&now).collect();
        for piece in &gone {
            if let Some(shared) = self.pieces.get(*piece) {
                held.changes.replace(&shared.made, &Made::default());
            }
        }
        if !held.changes.is_empty() {
            self.touched.insert(audience.clone());
        }
        for piece in gone {
            self.drop_piece(piece, audience);
        }
    }

    /// A piece is different.
    fn take_piece(&mut self, piece: &Piece) {
        let Some(now) = self.mesh.held(piece) else { return };
        // What is new here instead of what others share stays as theirs was where it would be refused.
        let shared =
            piece.shared().and_then(|shared| self.pieces.get(&shared)).map(|shared| shared.made.clone());
        let Some(held) = self.pieces.get_mut(piece) else { return };
        let before = match shared.filter(|_| held.made.resources.is_empty()) {
            Some(shared) => shared.resources,
            None => held.made.resources.clone(),
        };
        let (now, refused) = if piece.is_ours() { vet(&before, now) } else { (now, Vec::new()) };
        self.refused.extend(refused.iter().filter(|refusal| !held.refused.contains(refusal)).cloned());
        held.refused = refused;
        let before = std::mem::replace(&mut held.made, now.clone());
        for audience in &held.audiences {
            let Some(held) = self.audiences.get_mut(audience) else { continue };
            let first = held.changes.is_empty();
            held.changes.replace(&before, &now);
            if first && !held.changes.is_empty() {
                self.touched.insert(audience.clone());
            }
        }
    }
}
