//! The upstream side: clusters, hosts, load balancing, health, connections.

pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod environment;
pub(crate) mod exchange;
pub(crate) mod fail;
pub(crate) mod h1_client;
pub(crate) mod h2_client;
mod h2_handshake;
pub(crate) mod outlier;
pub(crate) mod pick;
pub(crate) mod pool;
mod worker;

pub(crate) use cluster::{Cluster, ClusterShared};
pub(crate) use portolan_balance::breaker;
pub(crate) use portolan_dataplane_config::cluster as host;
pub(crate) use portolan_dataplane_config::cluster::Host;
pub(crate) use worker::WorkerCluster;

#[cfg(test)]
pub(crate) mod testing;
