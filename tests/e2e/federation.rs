//! Federation when something is not as it should be: wrong declarations are refused with a reason and change nothing
//! else; a control plane that is away takes nothing with it.

use crate::leftovers::Footprint;
use crate::meshes::Meshes;
use crate::programs::{machine, text};

const IMPORTED: &str = "http://ratings.bookinfo.svc.east-imports.local:9080/ratings/0";

#[test]
fn what_is_wrong_or_away_breaks_nothing_else() {
    let _machine = machine();
    let before = Footprint::look();
    let meshes = Meshes::after_step(5);
    assert_eq!(meshes.call_from_west(IMPORTED), Some(200), "the demo has left a working federation");
    restart_while_the_peer_is_away(&meshes);
    wrong_trust_root(&meshes);
    wrong_client(&meshes);
    unknown_peer(&meshes);
    sets_without_a_peer(&meshes);
    wrong_resources(&meshes);
    assert_eq!(meshes.call_from_west(IMPORTED), Some(200), "and it works as before");
    meshes.stop();
    before.assert_unchanged();
}

/// West's control plane starts while east's is away: what was imported stays, for names and for proxies.
fn restart_while_the_peer_is_away(meshes: &Meshes) {
    meshes.run("east", &["scale", "deployment", "istiod", "--replicas=0"]);
    meshes.run("east", &["wait", "pod", "-l", "app=istiod", "--for=delete", "--timeout=30s"]);
    meshes.run("west", &["delete", "pod", "-l", "app=istiod"]);
    meshes.run("west", &["rollout", "status", "deployment/istiod", "--timeout=30s"]);
    meshes.wait_for("west", &["proxy-status"], |said| {
        let client = said.lines().find(|line| line.starts_with("client-"));
        client.is_some_and(|line| line.matches("SYNCED").count() == 4)
    });
    for _ in 0..20 {
        assert_eq!(meshes.call_from_west(IMPORTED), Some(200), "east's gateways and workloads are there");
    }
    meshes.run("east", &["scale", "deployment", "istiod", "--replicas=1"]);
    meshes.wait_for_status("west", &["connected  "]);
}

/// West believes another root than east's: its gateway does not speak to east's, and the status says why.
fn wrong_trust_root(meshes: &Meshes) {
    let own = meshes.run("west", &["get", "configmap", "istio-ca-root-cert", "-o", "yaml"]);
    let wrong = own
        .lines()
        .filter(|line| !line.contains("resourceVersion") && !line.contains("uid:"))
        .map(|line| line.replace("istio-ca-root-cert", "east-ca-root-cert") + "\n")
        .collect::<String>();
    meshes.apply("west", &wrong);
    // A gateway without connections from before.
    meshes.run("west", &["delete", "pod", "-l", "app=east-egress"]);
    meshes.run("west", &["rollout", "status", "deployment/east-egress", "--timeout=30s"]);
    meshes.wait_for_status(
        "west",
        &["503 Service Unavailable", "connection failure", "the access log of east-egress"],
    );
    let log = meshes.run("west", &["logs", "deployment/east-egress", "--tail=5"]);
    assert!(log.contains("UnknownIssuer") || log.contains("CERTIFICATE_VERIFY_FAILED"), "{log}");
    assert_ne!(meshes.call_from_west(IMPORTED), Some(200), "east is not who west expects");
    meshes.apply("west", &meshes.manifest("east-ca-root-cert.yaml"));
    meshes.wait_for_status("west", &["connected  ", "ratings.bookinfo.svc.east-imports.local"]);
}

/// East expects another identity of west's gateway: discovery is refused as forbidden.
fn wrong_client(meshes: &Meshes) {
    let peer = meshes.manifest("federation/east-peer.yaml");
    meshes.apply("east", &peer.replace("sa/east-egress-service-account", "sa/somebody-else"));
    meshes.run("west", &["delete", "pod", "-l", "app=east-egress"]);
    meshes.run("west", &["rollout", "status", "deployment/east-egress", "--timeout=30s"]);
    meshes.wait_for_status("west", &["403 Forbidden", "RBAC: access denied"]);
    assert_ne!(meshes.call_from_west(IMPORTED), Some(200), "east does not know this caller");
    meshes.apply("east", &peer);
    meshes.wait_for_status("west", &["connected  "]);
}

/// East knows nothing of west any more: nothing answers at its gateway.
fn unknown_peer(meshes: &Meshes) {
    meshes.run("east", &["delete", "servicemeshpeer", "west"]);
    meshes.wait_for_status("west", &["503 Service Unavailable"]);
    assert_ne!(
        meshes.call_from_west(IMPORTED),
        Some(200),
        "east shares nothing with a mesh that it does not know"
    );
    // What west knew stays listed: it is east that is away.
    assert!(
        meshes
            .portolan("west", &["federation", "status"])
            .contains("ratings.bookinfo.svc.east-imports.local")
    );
    meshes.apply("east", &meshes.manifest("federation/east-peer.yaml"));
    meshes.wait_for_status("west", &["connected  "]);
}

fn sets_without_a_peer(meshes: &Meshes) {
    let set = meshes.manifest("federation/import.yaml").replace("name: east\n", "name: nobody\n");
    meshes.apply("west", &set);
    meshes.wait_for_status("west", &["nobody", "not declared", "there is no ServiceMeshPeer nobody"]);
    meshes.run("west", &["delete", "importedserviceset", "nobody"]);
}

/// Each is refused with one message that names the place, and is not stored.
fn wrong_resources(meshes: &Meshes) {
    let resource = |version: &str, kind: &str, spec: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: wrong}}\nspec: {spec}\n")
    };
    let (istio, security, federation) =
        ("networking.istio.io/v1beta1", "security.istio.io/v1beta1", "federation.maistra.io/v1");
    for (kind, yaml, says) in [
        ("virtualservices", "kind: VirtualService\n  metadata: [".to_owned(), "yaml"),
        (
            "virtualservices",
            resource(
                istio,
                "VirtualService",
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: ten}]}]}",
            ),
            "weight",
        ),
        (
            "virtualservices",
            resource(
                istio,
                "VirtualService",
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 40}, {destination: {host: b}, weight: 50}]}]}",
            ),
            "weight",
        ),
        ("virtualservices", resource(istio, "VirtualService", "{hosts: []}"), "hosts"),
        ("authorizationpolicies", resource(security, "AuthorizationPolicy", "{action: FORBID}"), "action"),
        (
            "servicemeshpeers",
            resource(
                federation,
                "ServiceMeshPeer",
                "{remote: {addresses: [10.0.0.1], discoveryPort: \"many\"}}",
            ),
            "discoveryPort",
        ),
        (
            "servicemeshpeers",
            resource(
                federation,
                "ServiceMeshPeer",
                "{remote: {addresses: [10.0.0.1]}, security: {certificateChain: {kind: Secret, name: x}}}",
            ),
            "certificateChain",
        ),
        (
            "exportedservicesets",
            resource(federation, "ExportedServiceSet", "{exportRules: [{type: Everything}]}"),
            "type",
        ),
    ] {
        let output = meshes.kubectl("west", &["apply", "-f", "-"], &yaml);
        let said = text(&output);
        assert!(!output.status.success(), "{yaml} was taken: {said}");
        assert!(said.to_lowercase().contains(&says.to_lowercase()), "{yaml} gives: {said}");
        let left = meshes.kubectl("west", &["get", kind, "wrong"], "");
        assert!(!left.status.success(), "{yaml} was stored: {}", text(&left));
    }
}
