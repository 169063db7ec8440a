//! `portolan proxy-config`: what a proxy really runs with, from its own admin interface (the columns of istioctl 1.9).
//!
//! One view per file; each turns the dump into rows, which its tests feed with dumps of both proxies.

mod cluster;
mod dump;
mod endpoint;
mod listener;
mod log;
mod route;
mod secret;

use clap::{Args, Subcommand};
use kube::Client;
use portolan_names::ports;
use serde_json::Value;

use crate::output::{Format, Table, print, print_value};
use dump::Dump;
use portolan_client::{Connection, PodPort, Target, find_pod, say};

/// Show the configuration of a proxy.
#[derive(Debug, Args)]
pub(crate) struct ProxyConfig {
    #[command(subcommand)]
    view: View,
    /// Output format.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum View {
    /// Clusters: where the proxy can send requests.
    #[command(visible_aliases = ["clusters", "c"])]
    Cluster {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
        #[command(flatten)]
        filter: cluster::Filter,
    },
    /// Listeners: what the proxy accepts, and what it does with it.
    #[command(visible_aliases = ["listeners", "l"])]
    Listener {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
        /// Only this port.
        #[arg(long)]
        port: Option<u64>,
    },
    /// Routes: which request goes to which cluster.
    #[command(visible_aliases = ["routes", "r"])]
    Route {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
        /// Only the route configuration of this name.
        #[arg(long)]
        name: Option<String>,
    },
    /// Endpoints with their health.
    #[command(visible_aliases = ["endpoints", "ep"])]
    Endpoint {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
        /// Only endpoints of this cluster.
        #[arg(long)]
        cluster: Option<String>,
    },
    /// Certificates.
    #[command(visible_aliases = ["secrets", "s"])]
    Secret {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
    },
    /// What the proxy was started with.
    #[command(visible_alias = "b")]
    Bootstrap {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
    },
    /// Everything.
    All {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
    },
    /// Log levels; sets them with --level.
    Log {
        /// POD[.NAMESPACE] or deploy/NAME[.NAMESPACE].
        pod: String,
        /// `LEVEL`, or `LOGGER:LEVEL[,LOGGER:LEVEL...]`.
        #[arg(long)]
        level: Option<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(target: &Target, args: &ProxyConfig) -> anyhow::Result<()> {
    let Connection { client, namespace } = target.connect().await?;
    let (View::Cluster { pod, .. }
    | View::Listener { pod, .. }
    | View::Route { pod, .. }
    | View::Endpoint { pod, .. }
    | View::Secret { pod }
    | View::Bootstrap { pod }
    | View::All { pod }
    | View::Log { pod, .. }) = &args.view;
    let (name, namespace) = find_pod(&client, pod, &namespace).await?;
    let admin = PodPort { namespace, name, port: ports::ADMIN };
    let output = args.output;
    match &args.view {
        View::Cluster { filter, .. } => {
            let (table, value) = cluster::view(&config_dump(&client, &admin).await?, filter);
            print(output, &table, &renamed("envoy.config.cluster.v3.Cluster", value))
        }
        View::Listener { port, .. } => {
            let (table, value) = listener::view(&config_dump(&client, &admin).await?, *port);
            print(output, &table, &renamed("envoy.config.listener.v3.Listener", value))
        }
        View::Route { name, .. } => {
            let (table, value) = route::view(&config_dump(&client, &admin).await?, name.as_deref());
            print(output, &table, &renamed("envoy.config.route.v3.RouteConfiguration", value))
        }
        View::Secret { .. } => {
            let (table, value) = secret::view(&config_dump(&client, &admin).await?);
            print(output, &table, &value)
        }
        View::Endpoint { cluster, .. } => {
            let clusters = admin.get_json(&client, "/clusters?format=json").await?;
            let (table, value) = endpoint::view(&clusters, cluster.as_deref());
            print(output, &table, &renamed("envoy.admin.v3.ClusterStatus", value))
        }
        View::Bootstrap { .. } => {
            let bootstrap = config_dump(&client, &admin).await?.bootstrap()?;
            // There is no table of it: as istioctl, JSON unless YAML is asked for.
            print_value(if output == Format::Yaml { output } else { Format::Json }, &bootstrap)
        }
        View::All { .. } => all(&client, &admin, output).await,
        View::Log { level, .. } => log::run(&client, &admin, level.as_deref(), output).await,
    }
}

async fn config_dump(client: &Client, admin: &PodPort) -> anyhow::Result<Dump> {
    Ok(Dump(admin.get_json(client, "/config_dump").await?))
}

/// Resources with the field names that istioctl prints (`connectTimeout`). What is not known here is left as it is.
fn renamed(type_name: &str, list: Value) -> Value {
    let one = |mut item: Value| {
        if let Some(fields) = item.as_object_mut() {
            fields.remove("@type");
        }
        portolan_xds::json::with_json_names(type_name, &item).unwrap_or(item)
    };
    match list {
        Value::Array(items) => items.into_iter().map(one).collect(),
        other => other,
    }
}

async fn all(client: &Client, admin: &PodPort, output: Format) -> anyhow::Result<()> {
    let dump = config_dump(client, admin).await?;
    if matches!(output, Format::Json | Format::Yaml) {
        return print_value(output, &dump.0);
    }
    let clusters = admin.get_json(client, "/clusters?format=json").await?;
    let parts: [Table; 5] = [
        cluster::view(&dump, &cluster::Filter::default()).0,
        listener::view(&dump, None).0,
        route::view(&dump, None).0,
        endpoint::view(&clusters, None).0,
        secret::view(&dump).0,
    ];
    for (index, table) in parts.iter().enumerate() {
        if index > 0 {
            say!();
        }
        print(output, table, &Value::Null)?;
    }
    Ok(())
}
