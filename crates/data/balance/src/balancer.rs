//! Everything that picking a host needs and that can be made beforehand.

use std::sync::Arc;

use crate::limits::MAX_TABLE_ENTRIES;
use crate::pool::{Cursors, Pool};
use crate::subset::{Choice, Subsets};
use crate::{Criteria, Host, HostSet, Moment, Settings};

/// The load balancer of one cluster for one set of hosts and one state of their health: immutable, shared by all workers.
///
/// It is made by the thread that configures or watches over hosts, never by a worker: a large ring takes a second.
#[derive(Debug)]
pub struct Balancer<T> {
    epoch: u64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) whole: Pool<T>,
    subsets: Option<Subsets<T>>,
    /// Number of places where a worker keeps whose turn it is.
    pub(crate) cursors: usize,
    /// Until then some host is in its slow start.
    pub(crate) slow_until: Moment,
}

impl<T> Balancer<T> {
    /// Builds it for the health that `hosts` have now. `epoch` is for the caller: a number that changes with health.
    pub fn new(hosts: &HostSet<T>, settings: Arc<Settings>, epoch: u64) -> Self {
        Balancer::with_limit(hosts, settings, epoch, MAX_TABLE_ENTRIES)
    }

    /// The same with another limit of the entries of all tables.
    pub(crate) fn with_limit(hosts: &HostSet<T>, settings: Arc<Settings>, epoch: u64, entries: u64) -> Self {
        let mut cursors = Cursors::default();
        let mut whole = Pool::new(hosts, &settings, settings.locality_weighted, &mut cursors);
        let mut subsets =
            settings.subsets.as_ref().map(|subsets| Subsets::new(hosts, &settings, subsets, &mut cursors));
        let tables = whole.tables() + subsets.iter().flat_map(Subsets::pools).map(Pool::tables).sum::<u64>();
        let limit = entries / tables.max(1);
        whole.make_tables(&settings.policy, limit);
        for pool in subsets.iter_mut().flat_map(Subsets::pools_mut) {
            pool.make_tables(&settings.policy, limit);
        }
        let slow_until = match settings.policy.slow_start() {
            None => Moment::ZERO,
            Some(slow) => {
                hosts.iter().map(|host| host.state.joined().after(slow.window)).max().unwrap_or_default()
            }
        };
        Balancer { epoch, settings, whole, subsets, cursors: cursors.0, slow_until }
    }

    /// The number that was given when it was built.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How often a host was left out of a subset because there are too many.
    pub fn left_out(&self) -> usize {
        self.subsets.as_ref().map_or(0, |subsets| subsets.left_out)
    }

    /// All pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool<T>> {
        std::iter::once(&self.whole).chain(self.subsets.iter().flat_map(Subsets::pools))
    }

    /// The hosts for a request.
    pub(crate) fn choose(&self, criteria: &Criteria) -> Choice<'_, T> {
        match (&self.subsets, &self.settings.subsets) {
            (Some(subsets), Some(settings)) => subsets.choose(settings, criteria),
            _ => Choice::Any,
        }
    }

    /// Whether any host will do when a subset has none.
    pub(crate) fn any_in_need(&self) -> bool {
        self.settings.subsets.as_ref().is_some_and(|subsets| subsets.panic_mode_any)
    }
}

/// What a pick came to.
pub(crate) type Found<'a, T> = Option<&'a Arc<Host<T>>>;
