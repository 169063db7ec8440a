//! The upstream side: clusters, hosts, load balancing, health, connections.

pub(crate) mod breaker;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod dns;
pub(crate) mod exchange;
pub(crate) mod h1_client;
pub(crate) mod h2_client;
pub(crate) mod host;
pub(crate) mod lb;
pub(crate) mod outlier;
pub(crate) mod pool;
pub(crate) mod ring;

pub(crate) use cluster::{Cluster, ClusterShared, WorkerCluster};
pub(crate) use host::{Host, HostSet};

#[cfg(test)]
pub(crate) mod testing;
