//! Our root in the webhook configurations, so that the API server trusts us, and refusal as the default once we are
//! known to answer (docs/reference/istiod.md).

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// How often the configurations are looked at.
const CHECK: Duration = Duration::from_secs(30);

/// Pause after a failure and until the first success.
const RETRY: Duration = Duration::from_secs(2);

/// How long our own Service may take to let us through.
const PROBE: Duration = Duration::from_secs(5);

/// Keeps the bundles as they should be, for ever.
pub async fn keep_ca_bundles(client: Client, namespace: String, service_host: String, root: String) {
    let bundle = STANDARD.encode(root.as_bytes());
    let mut answering = false;
    loop {
        answering = answering || probe(&service_host, &root).await;
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
        let ok = patch_all(&mutating, &namespace, &bundle, false).await
            & patch_all(&validating, &namespace, &bundle, answering).await;
        tokio::time::sleep(if ok && answering { CHECK } else { RETRY }).await;
    }
}

/// Patches all configurations whose webhooks lead to us.
async fn patch_all<K>(api: &Api<K>, namespace: &str, bundle: &str, fail: bool) -> bool
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let list = match api.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => {
            tracing::warn!(%error, "webhook configurations can't be read; trying again");
            return false;
        }
    };
    let mut ok = true;
    for configuration in list {
        let Ok(json) = serde_json::to_value(&configuration) else { continue };
        let operations = operations(&json, namespace, bundle, fail);
        if operations.is_empty() {
            continue;
        }
        let name = configuration.name_any();
        let Ok(patch) = serde_json::from_value(Value::Array(operations)) else { continue };
        match api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(patch)).await {
            Ok(_) => tracing::info!(configuration = name, "patched the webhook configuration"),
            Err(error) => {
                tracing::warn!(configuration = name, %error, "the webhook configuration can't be patched; trying again");
                ok = false;
            }
        }
    }
    ok
}

/// What has to change in one configuration.
fn operations(configuration: &Value, namespace: &str, bundle: &str, fail: bool) -> Vec<Value> {
    let mut operations = Vec::new();
    for (index, webhook) in configuration["webhooks"].as_array().into_iter().flatten().enumerate() {
        let service = &webhook["clientConfig"]["service"];
        let ours = service["namespace"] == namespace
            && service["name"].as_str().is_some_and(|name| name.starts_with("istiod"));
        if !ours {
            continue;
        }
        if webhook["clientConfig"]["caBundle"] != bundle {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": bundle}));
        }
        if fail && !advises(webhook) && webhook["failurePolicy"] != "Fail" {
            let path = format!("/webhooks/{index}/failurePolicy");
            operations.push(json!({"op": "add", "path": path, "value": "Fail"}));
        }
    }
    operations
}

/// Whether a webhook is about objects of Kubernetes itself. They have to be taken while we are away.
fn advises(webhook: &Value) -> bool {
    let rules = webhook["rules"].as_array().into_iter().flatten();
    rules.flat_map(|rule| rule["apiGroups"].as_array().into_iter().flatten()).any(|group| group == "")
}

/// Whether we are reached through our own Service with our own certificate, as the API server will.
async fn probe(host: &str, root: &str) -> bool {
    let connect = async {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root.as_bytes()).flatten() {
            roots.add(certificate).ok()?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let port = portolan_names::ports::WEBHOOK_SERVICE;
        let stream = TcpStream::connect((host, port)).await.ok()?;
        let name = ServerName::try_from(host.to_owned()).ok()?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
    };
    timeout(PROBE, connect).await.ok().flatten().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_and_is_ours() {
        let webhook = |namespace: &str, bundle: &str, policy: &str| {
            json!({"clientConfig": {"service": {"name": "istiod", "namespace": namespace}, "caBundle": bundle},
                "failurePolicy": policy})
        };
        let configuration =
            json!({"webhooks": [webhook("other", "", "Ignore"), webhook("istio-system", "old", "Ignore")]});
        let found = operations(&configuration, "istio-system", "new", false);
        assert_eq!(
            found,
            [json!({"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "new"})]
        );
        assert_eq!(operations(&configuration, "istio-system", "old", true).len(), 1);
        assert!(operations(&configuration, "istio-system", "old", false).is_empty());
        let mut advice = configuration;
        advice["webhooks"][1]["rules"] = json!([{"apiGroups": ["x"]}, {"apiGroups": [""]}]);
        assert!(operations(&advice, "istio-system", "old", true).is_empty());
    }
}
