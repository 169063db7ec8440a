//! Says in the status of an object that it could not be carried out (`Reconciled`, `False`, with the reason), so that whoever
//! applied it sees it where it was applied; and that it is again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{Timestamp, Unit};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use portolan_resources::status::IstioCondition;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::publish::{Refusal, Source};

/// The condition.
const RECONCILED: &str = "Reconciled";
/// Its reason when part of the object is not in force.
const REFUSED: &str = "RefusedByProxies";
/// Its reason when all of it is again.
const ACCEPTED: &str = "AcceptedByProxies";
/// Changes within this time are written together.
const GATHER: Duration = Duration::from_millis(200);
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(5);
/// How long one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Objects in one answer to a list.
const PAGE: u32 = 500;
/// Longest text of a condition, in characters.
const MAX_MESSAGE: usize = 1024;

/// Kinds whose objects may be refused ([`Source::kind`]), with group and plural.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("VirtualService", "networking.istio.io", "v1beta1", "virtualservices"),
    ("DestinationRule", "networking.istio.io", "v1beta1", "destinationrules"),
    ("AuthorizationPolicy", "security.istio.io", "v1beta1", "authorizationpolicies"),
];

/// Writes for as long as the control plane runs. Nothing waits for it.
pub(crate) async fn keep(client: Client, mut refusals: watch::Receiver<Arc<BTreeSet<Refusal>>>) {
    let mut written = loop {
        match left_over(&client).await {
            Ok(found) => break found,
            Err(error) => tracing::warn!(%error, "objects cannot be listed; their status is not kept"),
        }
        sleep(RETRY).await;
    };
    loop {
        let desired = texts(&refusals.borrow_and_update());
        let sources: BTreeSet<Source> = written.keys().chain(desired.keys()).cloned().collect();
        let mut complete = true;
        for source in sources {
            let text = desired.get(&source);
            if text == written.get(&source) {
                continue;
            }
            if !write(&client, &source, text).await {
                complete = false;
                continue;
            }
            match text {
                Some(text) => drop(written.insert(source, text.clone())),
                None => drop(written.remove(&source)),
            }
        }
        if complete {
            if refusals.changed().await.is_err() {
                return;
            }
            sleep(GATHER).await;
        } else {
            sleep(RETRY).await;
        }
    }
}

/// What to say of each object.
fn texts(refusals: &BTreeSet<Refusal>) -> BTreeMap<Source, String> {
    let mut reasons: BTreeMap<Source, BTreeSet<&str>> = BTreeMap::new();
    for refusal in refusals {
        if let Some(source) = &refusal.source {
            reasons.entry(source.clone()).or_default().insert(&refusal.reason);
        }
    }
    let text = |reasons: BTreeSet<&str>| {
        let all = reasons.into_iter().collect::<Vec<_>>().join("; ");
        format!("proxies cannot carry this out: {all}").chars().take(MAX_MESSAGE).collect()
    };
    reasons.into_iter().map(|(source, reasons)| (source, text(reasons))).collect()
}

fn api(client: &Client, source: &Source) -> Option<Api<DynamicObject>> {
    let kind = KINDS.iter().find(|(kind, ..)| *kind == source.kind)?;
    Some(Api::namespaced_with(client.clone(), &source.namespace, &resource(kind)))
}

fn resource((kind, group, version, plural): &(&str, &str, &str, &str)) -> ApiResource {
    ApiResource {
        group: (*group).to_owned(),
        version: (*version).to_owned(),
        api_version: format!("{group}/{version}"),
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
    }
}

/// What an earlier control plane wrote, with its texts.
async fn left_over(client: &Client) -> Result<BTreeMap<Source, String>, kube::Error> {
    let mut found = BTreeMap::new();
    for kind in &KINDS {
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = all.list(&page).await?;
            for object in list.items {
                let refused = conditions(&object.data).into_iter().find(|condition| {
                    condition.type_ == RECONCILED && condition.reason.as_deref() == Some(REFUSED)
                });
                if let (Some(refused), Some(name)) = (refused, object.metadata.name) {
                    let namespace = object.metadata.namespace.unwrap_or_default();
                    let source = Source { kind: kind.0, namespace, name };
                    found.insert(source, refused.message.unwrap_or_default());
                }
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(found)
}

/// The conditions in a status; none where it cannot be read.
fn conditions(object: &Value) -> Vec<IstioCondition> {
    serde_json::from_value(object["status"]["conditions"].clone()).unwrap_or_default()
}

/// Writes one condition, and leaves the others. Whether it need not be tried again.
async fn write(client: &Client, source: &Source, text: Option<&String>) -> bool {
    let Some(api) = api(client, source) else { return true };
    let write = async {
        let object = api.get(&source.name).await?;
        let mut all = conditions(&object.data);
        all.retain(|condition| condition.type_ != RECONCILED);
        let now = Timestamp::now();
        all.push(IstioCondition {
            type_: RECONCILED.to_owned(),
            status: if text.is_some() { "False" } else { "True" }.to_owned(),
            reason: Some(if text.is_some() { REFUSED } else { ACCEPTED }.to_owned()),
            message: text.cloned(),
            last_transition_time: Some(now.round(Unit::Second).unwrap_or(now).to_string()),
            last_probe_time: None,
        });
        // Whoever writes conditions at the same time is not overwritten.
        let version = object.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": all}});
        api.patch_status(&source.name, &PatchParams::default(), &Patch::Merge(patch)).await
    };
    match timeout(WRITE_TIMEOUT, write).await {
        Ok(Ok(_)) => true,
        // It was deleted meanwhile.
        Ok(Err(kube::Error::Api(error))) if error.code == 404 => true,
        Ok(Err(error)) => {
            tracing::warn!(object = %source, %error, "its status is not written; trying again");
            false
        }
        Err(_) => {
            tracing::warn!(object = %source, "writing its status takes too long; trying again");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_told_each_reason_once() {
        let refusal = |name: &str, reason: &str, source: Option<&str>| Refusal {
            type_url: "t",
            name: name.into(),
            part: "".into(),
            reason: reason.into(),
            source: source.map(|name| Source {
                kind: "VirtualService",
                namespace: "shop".to_owned(),
                name: name.to_owned(),
            }),
        };
        let refusals = BTreeSet::from([
            refusal("80", "odd", Some("a")),
            refusal("8080", "odd", Some("a")),
            refusal("80", "x".repeat(2 * MAX_MESSAGE).as_str(), Some("b")),
            refusal("80", "nobody's", None),
        ]);
        let texts = texts(&refusals);
        let shown: Vec<(&str, usize)> =
            texts.iter().map(|(source, text)| (source.name.as_str(), text.chars().count())).collect();
        let told = "proxies cannot carry this out: odd";
        assert_eq!(shown, [("a", told.len()), ("b", MAX_MESSAGE)]);
        assert_eq!(texts.values().next().map(String::as_str), Some(told));
    }
}
