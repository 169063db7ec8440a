//! Bodies are encoded with the published message types and must come out as the JSON that means the same.

use super::*;
use k8s_pb::api::{apps::v1 as apps, core::v1 as core};
use k8s_pb::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1 as meta, util::intstr::IntOrString};
use proptest::prelude::*;
use prost::Message;

fn envelope(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let unknown = k8s_pb::apimachinery::pkg::runtime::Unknown {
        type_meta: Some(k8s_pb::apimachinery::pkg::runtime::TypeMeta {
            api_version: Some(api_version.into()),
            kind: Some(kind.into()),
        }),
        raw: Some(raw),
        content_encoding: Some(String::new()),
        content_type: Some(String::new()),
    };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_deployment_round_trips() {
    let container = core::Container {
        name: text("web"),
        image: text("nginx"),
        image_pull_policy: text(""),
        stdin: Some(false),
        ports: vec![core::ContainerPort {
            container_port: Some(80),
            host_port: Some(0),
            ..Default::default()
        }],
        env: vec![core::EnvVar { name: text("A"), value: text("1"), value_from: None }],
        resources: Some(core::ResourceRequirements {
            limits: [("cpu".to_owned(), Quantity { string: text("100m") })].into(),
            ..Default::default()
        }),
        readiness_probe: Some(core::Probe {
            handler: Some(core::ProbeHandler {
                http_get: Some(core::HttpGetAction {
                    path: text("/ready"),
                    port: Some(IntOrString { r#type: Some(1), int_val: Some(0), str_val: text("http") }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            period_seconds: Some(5),
            ..Default::default()
        }),
        ..Default::default()
    };
    let volume = core::Volume {
        name: text("tmp"),
        volume_source: Some(core::VolumeSource { empty_dir: Some(Default::default()), ..Default::default() }),
    };
    let deployment = apps::Deployment {
        metadata: Some(meta::ObjectMeta {
            name: text("web"),
            namespace: text(""),
            creation_timestamp: Some(meta::Time::default()),
            labels: [("app".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())].into(),
            ..Default::default()
        }),
        spec: Some(apps::DeploymentSpec {
            replicas: Some(0),
            min_ready_seconds: Some(0),
            template: Some(core::PodTemplateSpec {
                spec: Some(core::PodSpec {
                    containers: vec![container],
                    volumes: vec![volume],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            strategy: Some(apps::DeploymentStrategy {
                rolling_update: Some(apps::RollingUpdateDeployment {
                    max_surge: Some(IntOrString { r#type: Some(0), int_val: Some(2), str_val: text("") }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let got = decode(&envelope("apps/v1", "Deployment", deployment.encode_to_vec())).unwrap();
    let want = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web", "empty": ""}},
        "spec": {
            "replicas": 0,
            "template": {"spec": {
                "containers": [{
                    "name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
                    "env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": "100m"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                }],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }},
            "strategy": {"rollingUpdate": {"maxSurge": 2}},
        },
    });
    assert_eq!(got, want);
}

#[test]
fn scalars_that_json_writes_differently() {
    let secret = core::Secret {
        data: [("k".to_owned(), b"v\xff".to_vec())].into(),
        metadata: Some(meta::ObjectMeta {
            creation_timestamp: Some(meta::Time { seconds: Some(1_709_251_199), nanos: Some(0) }),
            managed_fields: vec![meta::ManagedFieldsEntry {
                fields_v1: Some(meta::FieldsV1 { raw: Some(br#"{"f:data":{}}"#.to_vec()) }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let got = decode(&envelope("v1", "Secret", secret.encode_to_vec())).unwrap();
    assert_eq!(got["data"]["k"], "dv8=");
    assert_eq!(got["metadata"]["creationTimestamp"], "2024-02-29T23:59:59Z");
    assert_eq!(got["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:data": {}}));

    let request = k8s_pb::api::authentication::v1::TokenRequest {
        spec: Some(k8s_pb::api::authentication::v1::TokenRequestSpec {
            audiences: vec!["istio-ca".into()],
            expiration_seconds: Some(600),
            bound_object_ref: None,
        }),
        ..Default::default()
    };
    let got = decode(&envelope("authentication.k8s.io/v1", "TokenRequest", request.encode_to_vec())).unwrap();
    assert_eq!(got["spec"], json!({"audiences": ["istio-ca"], "expirationSeconds": 600}));

    let review = k8s_pb::api::authorization::v1::SubjectAccessReview {
        spec: Some(k8s_pb::api::authorization::v1::SubjectAccessReviewSpec {
            user: text("u"),
            extra: [(
                "scopes".to_owned(),
                k8s_pb::api::authorization::v1::ExtraValue { items: vec!["a".into()] },
            )]
            .into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let got =
        decode(&envelope("authorization.k8s.io/v1", "SubjectAccessReview", review.encode_to_vec())).unwrap();
    assert_eq!(got["spec"], json!({"user": "u", "extra": {"scopes": ["a"]}}));

    let options = meta::DeleteOptions { propagation_policy: text("Background"), ..Default::default() };
    let got = decode(&envelope("v1", "DeleteOptions", options.encode_to_vec())).unwrap();
    assert_eq!(got["propagationPolicy"], "Background");
}

#[test]
fn hostile_bodies_are_refused() {
    assert_eq!(decode(b"{}").unwrap_err(), ProtobufError::Magic);
    assert!(matches!(decode(&envelope("x/v1", "Foo", vec![])), Err(ProtobufError::UnknownType(_))));
    assert!(matches!(decode(b"k8s\0\xff\xff"), Err(ProtobufError::Malformed(_))));
    let truncated = envelope("v1", "Pod", vec![0x0a, 0x7f, 1]);
    assert_eq!(decode(&truncated).unwrap_err(), ProtobufError::Malformed("core.v1.Pod".into()));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&envelope("v1", "Pod", raw.clone()));
        let _ = decode(&[MAGIC, &raw].concat());
    }

    #[test]
    fn config_maps_round_trip(data in proptest::collection::btree_map("[a-z]{1,5}", ".{0,9}", 0..5)) {
        let map = core::ConfigMap { data: data.clone().into_iter().collect(), ..Default::default() };
        let got = decode(&envelope("v1", "ConfigMap", map.encode_to_vec())).unwrap();
        let want = if data.is_empty() { Value::Null } else { json!(data) };
        prop_assert_eq!(got.get("data").cloned().unwrap_or_default(), want);
    }
}
