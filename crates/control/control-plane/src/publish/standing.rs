//! What is refused at the moment, for those who look after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

use super::vet::Refusal;

/// What is refused at the moment. The same may be refused in several pieces.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pieces: BTreeMap<Refusal, usize>,
    /// What came up since somebody last asked.
    news: BTreeSet<Refusal>,
    /// It is not what was told last.
    differs: bool,
    told: watch::Sender<Arc<BTreeSet<Refusal>>>,
}

impl Standing {
    /// What was refused of a piece is replaced by what is.
    pub(super) fn replace(&mut self, old: &[Refusal], new: &[Refusal]) {
        for refusal in new {
            let pieces = self.pieces.entry(refusal.clone()).or_default();
            *pieces += 1;
            if *pieces == 1 {
                self.differs = true;
                self.news.insert(refusal.clone());
            }
        }
        for refusal in old {
            let Some(pieces) = self.pieces.get_mut(refusal) else { continue };
            *pieces -= 1;
            if *pieces == 0 {
                self.differs = true;
                self.pieces.remove(refusal);
                self.news.remove(refusal);
            }
        }
    }

    /// Tells those who follow, if it differs.
    pub(super) fn tell(&mut self) {
        if std::mem::take(&mut self.differs) {
            self.told.send_replace(Arc::new(self.pieces.keys().cloned().collect()));
        }
    }

    /// What came up since somebody last asked.
    pub(super) fn take_news(&mut self) -> BTreeSet<Refusal> {
        std::mem::take(&mut self.news)
    }

    /// What is refused, as of the last publication.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<BTreeSet<Refusal>>> {
        self.told.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_pieces_have_stands_until_the_last_lets_go() {
        let refusal = |part: &str| Refusal {
            type_url: "t",
            name: "n".into(),
            part: part.into(),
            reason: "r".into(),
            source: None,
        };
        let (a, b) = (refusal("a"), refusal("b"));
        let mut standing = Standing::default();
        let told = standing.follow();
        standing.replace(&[], std::slice::from_ref(&a));
        standing.replace(&[], &[a.clone(), b.clone()]);
        assert_eq!(standing.take_news().len(), 2);
        assert!(told.borrow().is_empty(), "not before it is published");
        standing.tell();
        assert_eq!(told.borrow().len(), 2);
        standing.replace(std::slice::from_ref(&a), &[]);
        standing.replace(&[a.clone(), b.clone()], std::slice::from_ref(&a));
        standing.tell();
        assert_eq!(told.borrow().iter().collect::<Vec<_>>(), [&a]);
        assert!(standing.take_news().is_empty(), "nothing new");
        standing.replace(std::slice::from_ref(&a), &[]);
        standing.tell();
        assert!(told.borrow().is_empty());
    }
}
