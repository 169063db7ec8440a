//! Who tells whom who it is.

use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::*;
use crate::testing::{Scene, message, request};

fn node(workload: &str) -> LocalNode {
    LocalNode::new(workload, &message(json!({ "WORKLOAD_NAME": workload })))
}

/// A request in this direction to a proxy called `local`, from a peer that introduces itself or not.
fn asked(direction: Direction, peer: Option<&str>) -> (Scene, Exchange) {
    let mut request = request();
    if let Some(peer) = peer {
        introduce(&node(peer), &mut request.headers);
    }
    let mut scene = Scene::of(request);
    scene.direction = direction;
    scene.local = node("local");
    let mut exchange = Exchange::default();
    assert!(matches!(scene.request(&mut exchange), Flow::Continue));
    (scene, exchange)
}

/// The fields of the answer that the client gets from a host that introduces itself or not.
fn answered(scene: &mut Scene, exchange: &mut Exchange, host: Option<&str>) -> HeaderMap {
    let mut head = ResponseHead::new(StatusCode::OK);
    if let Some(host) = host {
        introduce(&node(host), &mut head.headers);
    }
    scene.see(|x| exchange.on_response(x, &mut head, true));
    head.headers
}

fn id(headers: &HeaderMap) -> Option<&HeaderValue> {
    assert_eq!(headers.contains_key(PEER_METADATA), headers.contains_key(PEER_METADATA_ID));
    headers.get(PEER_METADATA_ID)
}

fn peers(scene: &Scene) -> Vec<(PeerSide, &str)> {
    fn peer(effect: &Effect) -> Option<(PeerSide, &str)> {
        match effect {
            Effect::Peer(side, peer) => Some((*side, &peer.workload)),
            _ => None,
        }
    }
    scene.effects.iter().filter_map(peer).collect()
}

#[test]
fn an_outbound_request_says_who_sends_it() {
    for direction in [Direction::Outbound, Direction::Unspecified] {
        let (scene, _) = asked(direction, None);
        assert_eq!(id(&scene.request.headers).unwrap(), "local");
        assert!(peers(&scene).is_empty());
    }
}

#[test]
fn an_application_does_not_see_who_its_client_is() {
    let (scene, _) = asked(Direction::Inbound, Some("client"));
    assert_eq!(id(&scene.request.headers), None);
    assert_eq!(peers(&scene), [(PeerSide::Downstream, "client")]);
}

#[test]
fn who_introduced_itself_is_told_who_answers() {
    let (mut scene, mut exchange) = asked(Direction::Inbound, Some("client"));
    assert_eq!(id(&answered(&mut scene, &mut exchange, None)).unwrap(), "local");
    let (mut scene, mut exchange) = asked(Direction::Inbound, None);
    assert_eq!(id(&answered(&mut scene, &mut exchange, None)), None);
}

#[test]
fn an_application_does_not_see_who_answered_it() {
    let (mut scene, mut exchange) = asked(Direction::Outbound, Some("client"));
    assert_eq!(id(&answered(&mut scene, &mut exchange, Some("host"))), None);
    assert_eq!(peers(&scene)[1], (PeerSide::Upstream, "host"));
}

#[test]
fn a_gateway_shows_its_own_name_in_the_place_of_its_hosts() {
    let (mut scene, mut exchange) = asked(Direction::Unspecified, Some("client"));
    assert_eq!(id(&answered(&mut scene, &mut exchange, Some("host"))).unwrap(), "local");
}
