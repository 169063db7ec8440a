//! The steps, in order. Each may count on what the ones before it have left.

mod apply;
mod denial;
mod federation;
mod mutual_tls;
mod outage;
mod running;
mod steering;
mod traffic;
mod unexport;

use super::report::Report;
use super::world::World;

/// Number of steps.
pub(super) const COUNT: usize = 8;

/// Runs the first `count` steps.
pub(super) async fn run(world: &World, report: &mut Report, count: usize) -> anyhow::Result<()> {
    for number in 1..=count.min(COUNT) {
        match number {
            1 => running::run(world, report).await?,
            2 => mutual_tls::run(world, report).await?,
            3 => traffic::run(world, report).await?,
            4 => denial::run(world, report).await?,
            5 => federation::run(world, report).await?,
            6 => steering::run(world, report).await?,
            7 => unexport::run(world, report).await?,
            _ => outage::run(world, report).await?,
        }
    }
    Ok(())
}
