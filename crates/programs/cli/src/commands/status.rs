//! `portolan status`: what runs.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use portolan_cluster::state::StateError;
use serde_json::{Value, json};

use super::up::state_dir;
use crate::output::{Format, Table, print};
use portolan_client::{Target, say};

/// Time for the API server to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Flags of `portolan status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Output format.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// Runs the command: exit code 0 if the cluster runs and answers, else 1.
pub(crate) async fn run(target: &Target, args: &Status) -> anyhow::Result<ExitCode> {
    let state = state_dir(target);
    let record = state.record()?.ok_or_else(|| StateError::Missing(state.root().to_owned()))?;
    let pid = state.holder();
    let found = match pid {
        Some(_) => tokio::time::timeout(TIMEOUT, look(target, &state)).await,
        None => Ok(Ok((Vec::new(), Vec::new()))),
    };
    let (word, pods, balancers) = match (pid, found) {
        (None, _) => ("down".to_owned(), Vec::new(), Vec::new()),
        (Some(_), Ok(Ok((pods, balancers)))) => ("up".to_owned(), pods, balancers),
        (Some(_), Ok(Err(error))) => (format!("not answering: {error:#}"), Vec::new(), Vec::new()),
        (Some(_), Err(_)) => (format!("no answer within {} s", TIMEOUT.as_secs()), Vec::new(), Vec::new()),
    };
    let ready = pods.iter().filter(|pod| pod[2] == "True").count();
    let mut table = Table::new(&["CLUSTER", "STATUS", "PROCESS", "API", "PODS READY", "STATE DIRECTORY"]);
    table.row([
        record.name.clone(),
        word.clone(),
        pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        format!("https://127.0.0.1:{}", record.api_port),
        format!("{ready}/{}", pods.len()),
        state.root().display().to_string(),
    ]);
    let value = json!({
        "cluster": record, "status": word, "pid": pid, "kubeconfig": state.kubeconfig(),
        "pods": pods.iter().map(|pod| json!({"namespace": pod[0], "name": pod[1], "ready": pod[2] == "True", "phase": pod[3]})).collect::<Vec<_>>(),
        "loadBalancers": balancers.iter().map(|one| json!({"namespace": one[0], "name": one[1], "address": one[2]})).collect::<Vec<_>>(),
    });
    print(args.output, &table, &value)?;
    if matches!(args.output, Format::Table | Format::Wide) && word == "up" {
        let mut list = Table::new(&["NAMESPACE", "LOAD BALANCER", "ADDRESS", "PORTS"]);
        list.rows(balancers);
        say!();
        print(args.output, &list, &Value::Null)?;
        if args.output == Format::Wide {
            let mut list = Table::new(&["NAMESPACE", "POD", "READY", "PHASE"]);
            list.rows(pods);
            say!();
            print(args.output, &list, &Value::Null)?;
        }
    }
    Ok(if word == "up" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Rows = Vec<Vec<String>>;

async fn look(target: &Target, state: &portolan_cluster::state::StateDir) -> anyhow::Result<(Rows, Rows)> {
    let target = Target { state_dir: Some(state.root().to_owned()), ..target.clone() };
    let client: Client = target.client().await?;
    let all = ListParams::default();
    let pods = Api::<Pod>::all(client.clone()).list(&all).await?;
    let services = Api::<Service>::all(client).list(&all).await?;
    let pods = pods
        .items
        .iter()
        .map(|pod| {
            let status = pod.status.as_ref();
            let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            vec![
                pod.namespace().unwrap_or_default(),
                pod.name_any(),
                ready.map_or_else(|| "False".to_owned(), |condition| condition.status.clone()),
                status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
            ]
        })
        .collect();
    let balancers = services
        .items
        .iter()
        .filter(|service| {
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
        })
        .map(|service| {
            let ports: Vec<String> = service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .map(|port| port.port.to_string())
                .collect();
            let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
            let address = ingress.and_then(|balancer| balancer.ingress.as_ref()?.first()?.ip.clone());
            vec![
                service.namespace().unwrap_or_default(),
                service.name_any(),
                address.unwrap_or_else(|| "<pending>".to_owned()),
                ports.join(","),
            ]
        })
        .collect();
    Ok((pods, balancers))
}
