//! `/logging`: log levels, for all or per logger.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use super::AdminState;
use portolan_agent::serve::{query, text};

pub(super) fn logging(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    for (name, value) in query(request.uri()) {
        let result = match name.as_str() {
            "level" => state.log.set_all(&value),
            "paths" => value.split(',').try_for_each(|pair| match pair.split_once(':') {
                Some((logger, level)) => state.log.set_one(logger, level),
                None => state.log.set_all(pair),
            }),
            logger => state.log.set_one(logger, &value),
        };
        if let Err(error) = result {
            return text(StatusCode::BAD_REQUEST, format!("{error}\n"));
        }
    }
    text(StatusCode::OK, format!("active loggers:\n{}", state.log.describe()))
}
