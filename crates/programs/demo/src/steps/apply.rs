//! Applying the sample's files, as all steps do it.

use crate::report::Report;
use crate::world::{APP, Cluster, World};

/// Applies files to the sample's namespace.
pub(super) async fn apply(
    world: &World,
    cluster: &Cluster,
    report: &Report,
    files: &[&str],
) -> anyhow::Result<()> {
    for file in files {
        cluster.kubectl()?.apply(report, APP, &world.manifests.path(file)).await?;
    }
    Ok(())
}

/// Deletes what a file describes.
pub(super) async fn delete(
    world: &World,
    cluster: &Cluster,
    report: &Report,
    file: &str,
) -> anyhow::Result<()> {
    cluster.kubectl()?.delete(report, APP, &world.manifests.path(file)).await
}
