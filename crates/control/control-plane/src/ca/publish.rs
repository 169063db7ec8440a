//! The root certificate in every namespace (ConfigMap `istio-ca-root-cert`), where Pods mount it from.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use portolan_names::{labels, names};
use serde_json::json;
use tokio::sync::watch;

use crate::{publish::Published, settings::Settings};

/// How often all namespaces are looked through although nothing was heard.
const RECHECK: Duration = Duration::from_secs(60);

/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the ConfigMaps as they should be, for ever.
pub async fn publish_roots(
    client: Client,
    settings: Arc<Settings>,
    mut published: watch::Receiver<Published>,
    root: String,
) {
    let mut done: BTreeMap<String, ()> = BTreeMap::new();
    let mut recheck = tokio::time::interval(RECHECK);
    loop {
        let mut wait = None;
        tokio::select! {
            _ = recheck.tick() => done.clear(),
            changed = published.changed() => if changed.is_err() { return },
        }
        for namespace in namespaces(&settings) {
            if done.contains_key(&namespace) {
                continue;
            }
            match ensure(&client, &namespace, &root).await {
                Ok(()) => {
                    done.insert(namespace, ());
                }
                Err(error) if is_going(&error) => {}
                Err(error) => {
                    tracing::warn!(namespace, %error, "the root certificate can't be written; trying again");
                    wait = Some(RETRY);
                }
            }
        }
        done.retain(|namespace, ()| settings.namespace(namespace).is_some());
        if let Some(pause) = wait {
            tokio::time::sleep(pause).await;
            recheck.reset_immediately();
        }
    }
}

/// The namespace is gone or going: nothing can be created in it any more.
fn is_going(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.code == 404 || (status.code == 403 && status.message.contains("being terminated"))
        }
        _ => false,
    }
}

fn namespaces(settings: &Settings) -> Vec<String> {
    let all = settings.namespaces();
    let live = all.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    live.filter_map(|namespace| namespace.metadata.name.clone()).collect()
}

async fn ensure(client: &Client, namespace: &str, root: &str) -> Result<(), kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = BTreeMap::from([(names::ROOT_CERT_KEY.to_owned(), root.to_owned())]);
    match api.get_opt(names::ROOT_CERT_CONFIG_MAP).await? {
        Some(map) if map.data.as_ref() == Some(&data) => Ok(()),
        Some(_) => {
            let patch = Patch::Merge(json!({ "data": data }));
            api.patch(names::ROOT_CERT_CONFIG_MAP, &PatchParams::default(), &patch).await.map(drop)
        }
        None => {
            let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
            map.metadata.name = Some(names::ROOT_CERT_CONFIG_MAP.to_owned());
            map.metadata.labels = Some(BTreeMap::from([(labels::CONFIG.to_owned(), "true".to_owned())]));
            match api.create(&PostParams::default(), &map).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                other => other.map(drop),
            }
        }
    }
}
