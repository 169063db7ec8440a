//! What one client watches of one type, and how far it is.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{Answer, shorten};

/// What the caller has to generate for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Everything of the type that the proxy may see.
    pub wildcard: bool,
    /// In addition, or instead, these names.
    pub names: BTreeSet<Arc<str>>,
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
    /// What the client has been sent (name -> version), refused versions too: the same bytes would be refused again.
    pub(super) sent: HashMap<Arc<str>, Arc<str>>,
    /// Names that the client knows not to exist.
    pub(super) absent: BTreeSet<Arc<str>>,
    /// Names that go out with the next response even though their version is known.
    pub(super) resend: BTreeSet<Arc<str>>,
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

    pub(super) fn sending(&mut self, nonce: String, names: Vec<Arc<str>>) {
        self.owed = false;
        self.resend.clear();
        self.sent_nonce.clone_from(&nonce);
        self.outstanding.push_back(Outstanding { nonce, names });
    }

    pub(super) fn status(&self) -> Status {
        Status {
            sent: self.sent_nonce.clone(),
            acked: self.acked_nonce.clone(),
            last_error: self.refused.as_ref().map(|(_, text)| text.clone()),
            resources: self.sent.len(),
        }
    }
}
