//! The `proxy` sub-resource: HTTP to a port of a Pod or Service, as `kubectl get --raw` and consoles use it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use portolan_apimachinery::ApiStatus;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::api::Api;
use crate::call::Call;
use crate::endpoints::ready_endpoint;
use crate::keys::PODS;
use crate::respond::Answer;

/// How long connecting, and waiting for the head of the answer, may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Headers that belong to one connection or prove who the caller is to us, and so go no further.
const DROPPED: [header::HeaderName; 7] = [
    header::AUTHORIZATION,
    header::CONNECTION,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::UPGRADE,
];

pub(crate) async fn answer(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    // `[scheme:]name[:port]`
    let parts: Vec<&str> = call.path.name.split(':').collect();
    let (name, port) = match parts.as_slice() {
        [name] => (*name, ""),
        [name, port] => (*name, *port),
        ["http", name, port] => (*name, *port),
        _ => {
            return Err(ApiStatus::bad_request(format!(
                "invalid proxy target {:?}: use NAME:PORT",
                call.path.name
            )));
        }
    };
    let connect = connect(api, call, name, port);
    let stream = tokio::time::timeout(TIMEOUT, connect)
        .await
        .map_err(|_| ApiStatus::timeout("the proxied connection took too long"))??;
    let marker = format!("/{}/{}/proxy", call.path.plural, call.path.name);
    let rest = call.info.path.find(&marker).map_or("", |at| &call.info.path[at + marker.len()..]);
    let mut target = if rest.is_empty() { "/".to_owned() } else { rest.to_owned() };
    if !call.info.raw_query.is_empty() {
        target.push('?');
        target.push_str(&call.info.raw_query);
    }
    let mut request = Request::builder().method(call.info.method.clone()).uri(target);
    for (header, value) in call.headers.iter().filter(|(header, _)| !DROPPED.contains(header)) {
        request = request.header(header, value);
    }
    let request =
        request
            .header(header::HOST, format!("{name}:{port}"))
            .body(Full::new(call.body.clone()))
            .map_err(|error| ApiStatus::bad_request(format!("the proxied request is not valid: {error}")))?;
    let failed =
        |error: hyper::Error| ApiStatus::unavailable(format!("error trying to reach {name}:{port}: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(failed)?;
    tokio::spawn(connection);
    let answer = tokio::time::timeout(TIMEOUT, sender.send_request(request))
        .await
        .map_err(|_| ApiStatus::timeout("the proxied service did not answer in time"))?
        .map_err(failed)?;
    let (mut parts, body) = answer.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    // The sender must live as long as the body.
    let body = body.map_err(std::io::Error::other).map_frame(move |frame| {
        let _held = &sender;
        frame
    });
    Ok(Answer::from_parts(parts, body.boxed_unsync()))
}

async fn connect(api: &Api, call: &Call, name: &str, port: &str) -> Result<TcpStream, ApiStatus> {
    let unreachable = |error: std::io::Error| {
        ApiStatus::unavailable(format!("error trying to reach {name}:{port}: {error}"))
    };
    if call.path.plural == "services" {
        let wanted = if port.is_empty() { None } else { Some(port) };
        let address = ready_endpoint(&api.store, call.namespace(), name, wanted)
            .ok_or_else(|| ApiStatus::unavailable(format!("no endpoints available for service {name:?}")))?;
        return (api.dial)(address).await.map_err(unreachable);
    }
    let pod = api
        .store
        .get(PODS, call.namespace(), name)
        .ok_or_else(|| ApiStatus::not_found(&call.resource, name))?;
    let uid = pod.value.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = port_of(&pod.value, port)
        .ok_or_else(|| ApiStatus::bad_request(format!("pod {name:?} has no port {port:?}")))?;
    (api.dial_pod)(uid, number).await.map_err(unreachable)
}

/// A port by number or name; the first one without either.
fn port_of(pod: &Value, wanted: &str) -> Option<u16> {
    if let Ok(number) = wanted.parse() {
        return Some(number);
    }
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let mut ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let found =
        ports.find(|port| wanted.is_empty() || port.get("name").and_then(Value::as_str) == Some(wanted))?;
    u16::try_from(found.get("containerPort")?.as_u64()?).ok()
}
