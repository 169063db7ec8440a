use crate::fixture::{peer, west};

#[test]
fn a_peer_is_foreign_when_it_names_another_trust_domain() {
    for (domain, foreign, effective) in
        [("east.local", true, "east.local"), ("west.local", false, "west.local"), ("", false, "west.local")]
    {
        let mut peer = peer("east");
        peer.spec.security.trust_domain = domain.into();
        assert_eq!(peer.is_foreign(&west()), foreign, "{domain:?}");
        assert_eq!(peer.trust_domain(&west()), effective, "{domain:?}");
    }
}

#[test]
fn hosts_and_identities_of_a_peering() {
    let (mesh, peer) = (west(), peer("east"));
    assert_eq!(peer.egress_host(&mesh), "east-egress.istio-system.svc.cluster.local");
    assert_eq!(peer.discovery_host(), "discovery.istio-system.svc.east.local");
    assert_eq!(
        peer.gateway_identity(&mesh, "east-egress"),
        "spiffe://west.local/ns/istio-system/sa/east-egress-service-account"
    );
}
