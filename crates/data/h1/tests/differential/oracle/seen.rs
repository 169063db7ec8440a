//! One message, whoever read it.

use http::{HeaderMap, Method};
use portolan_h1::{RequestHead, ResponseHead, Target, Version, is_forbidden_trailer};

use super::ours::Message;

/// Lower-case names with values, sorted by name; values of one name keep their order, because it has a meaning.
pub type Fields = Vec<(String, Vec<u8>)>;

/// What two readers have to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method, or status.
    pub word: String,
    /// Request target; empty for a response.
    pub target: String,
    /// Version.
    pub version: http::Version,
    /// Fields.
    pub fields: Fields,
    /// Body without its framing.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
}

impl Seen {
    /// Our view of a request.
    pub fn request(message: &Message<RequestHead>) -> Self {
        let head = &message.head;
        // RFC 9112 3.2.4 asks for `*` when OPTIONS comes in absolute form without a path; hyper says `/`.
        let bare = head.method == Method::OPTIONS && head.scheme.is_some() && head.target == Target::Asterisk;
        let target = if bare { "/" } else { target_text(&head.target) }.to_owned();
        Seen::new(head.method.as_str(), target, head.version, &head.headers, message)
    }

    /// Our view of a response.
    pub fn response(message: &Message<ResponseHead>) -> Self {
        let head = &message.head;
        Seen::new(head.status.as_str(), String::new(), head.version, &head.headers, message)
    }

    fn new<H>(
        word: &str,
        target: String,
        version: Version,
        headers: &HeaderMap,
        message: &Message<H>,
    ) -> Self {
        Seen {
            word: word.to_owned(),
            target,
            version: version.to_http(),
            fields: fields(headers),
            body: message.body.clone(),
            trailers: fields(&message.trailers),
        }
    }
}

/// The target as it stands in a request line in origin, authority or asterisk form.
pub fn target_text(target: &Target) -> &str {
    match target {
        Target::Path(text) | Target::Authority(text) => text,
        Target::Asterisk => "*",
    }
}

/// A map as sorted fields.
pub fn fields(headers: &HeaderMap) -> Fields {
    let mut fields: Fields =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

/// Trailers without those that the codec drops on purpose (RFC 9110 6.5.1).
pub fn allowed_trailers(trailers: &HeaderMap) -> Fields {
    let mut allowed = trailers.clone();
    for name in trailers.keys().filter(|name| is_forbidden_trailer(name)) {
        allowed.remove(name);
    }
    fields(&allowed)
}
