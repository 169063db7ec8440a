//! What one client watches of one type, and how far it is.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use super::{Answer, sent::Sent, shorten};
use crate::{Revision, Version, wire::Stated};

/// What a client watches. A copy is cheap; but as long as there is one, the next change of the names copies them all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Everything of the type that the proxy may see.
    pub wildcard: bool,
    /// In addition, or instead, these names.
    pub names: Arc<BTreeSet<Arc<str>>>,
}

impl Watch {
    /// Adds a name.
    pub(super) fn add(&mut self, name: Arc<str>) {
        if !self.names.contains(&name) {
            Arc::make_mut(&mut self.names).insert(name);
        }
    }

    /// Takes a name out; says whether it was there.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.names.contains(name) && Arc::make_mut(&mut self.names).remove(name)
    }

    /// Lets go of texts that came with requests where there is the same text in a resource, which all streams share.
    pub(super) fn share_names(&mut self, sent: &Sent) {
        if self.names.iter().any(|name| !Arc::ptr_eq(name, sent.shared(name))) {
            self.names = Arc::new(self.names.iter().map(|name| sent.shared(name).clone()).collect());
        }
    }
}

/// How far a client is with one type, for `/debug/syncz`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Nonce of the last response, empty before the first.
    pub sent: String,
    /// Nonce of the last response that the client took.
    pub acked: String,
    /// Text of the last rejection that has not been made good since.
    pub last_error: Option<String>,
    /// Resources that the client has, or is about to have.
    pub resources: usize,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: String,
    pub(super) names: Vec<Arc<str>>,
}

/// State of one type on one stream.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    pub(super) watch: Watch,
    /// What the client has been sent, refused versions too: the same bytes would be refused again.
    pub(super) sent: Sent,
    /// What the client said at the start of the stream that it has. The first comparison uses it up.
    pub(super) stated: Vec<Stated>,
    /// Names that the client knows not to exist.
    pub(super) absent: BTreeSet<Arc<str>>,
    /// Names that go out with the next response even though their version is known.
    pub(super) resend: BTreeSet<Arc<str>>,
    /// The client has asked for everything that it watches: the next response is to compare all of it.
    pub(super) whole: bool,
    /// The next response is sent even when it is empty.
    pub(super) owed: bool,
    pub(super) outstanding: VecDeque<Outstanding>,
    pub(super) sent_nonce: String,
    pub(super) acked_nonce: String,
    pub(super) refused: Option<(Vec<Arc<str>>, String)>,
}

impl TypeState {
    /// Takes the answer to a response into account.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<&str>) -> Answer {
        if nonce.is_empty() {
            return Answer::None;
        }
        // A changed subscription of state-of-the-world xDS repeats the nonce that has been answered before.
        if error.is_none() && nonce == self.acked_nonce && nonce == self.sent_nonce {
            return Answer::None;
        }
        let Some(position) = self.outstanding.iter().position(|o| o.nonce == nonce) else {
            return Answer::Expired;
        };
        // Answers come in order: one for a later response covers those before it.
        let Some(answered) = self.outstanding.drain(..=position).next_back() else {
            return Answer::Expired;
        };
        match error {
            Some(text) => {
                let text = shorten(text);
                self.refused = Some((answered.names, text.clone()));
                Answer::Nack(text)
            }
            None => {
                self.acked_nonce = answered.nonce;
                if let Some((names, _)) = &self.refused
                    && (names.is_empty() || names.iter().any(|name| answered.names.contains(name)))
                {
                    self.refused = None;
                }
                Answer::Ack
            }
        }
    }

    /// The client asks for everything while responses are on their way. It takes over what is in them, though it may have given
    /// some of it up by name before: that has to be made good, or taken back.
    pub(super) fn expect_outstanding(&mut self) {
        for name in self.outstanding.iter().flat_map(|response| &response.names) {
            if !self.sent.contains(name) && !self.absent.contains(name) {
                self.sent.put(&Arc::new(Revision { name: name.clone(), version: Version::UNKNOWN }));
            }
        }
    }

    pub(super) fn sending(&mut self, nonce: String, names: Vec<Arc<str>>) {
        self.owed = false;
        self.sent_nonce.clone_from(&nonce);
        self.outstanding.push_back(Outstanding { nonce, names });
    }

    pub(super) fn status(&self) -> Status {
        Status {
            sent: self.sent_nonce.clone(),
            acked: self.acked_nonce.clone(),
            last_error: self.refused.as_ref().map(|(_, text)| text.clone()),
            resources: self.sent.len() + self.stated.len(),
        }
    }
}
