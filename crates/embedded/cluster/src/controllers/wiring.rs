//! What joins watches, queues and controllers.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use kube::runtime::reflector::{Lookup, Store};
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::informer::{Change, Unlisted, inform};
use super::queue::{Key, Next, WorkQueue};

type Queue = Arc<WorkQueue<Key>>;

/// One queue per controller.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) deployments: Queue,
    pub(super) sets: Queue,
    pub(super) services: Queue,
    pub(super) namespaces: Queue,
}

/// Watches and controllers as they are being put together.
pub(super) struct Wiring {
    client: Client,
    tasks: JoinSet<()>,
    unlisted: Unlisted,
    queues: Queues,
}

impl Wiring {
    pub(super) fn new(client: &Client) -> Self {
        let queues = Queues {
            deployments: WorkQueue::new(),
            sets: WorkQueue::new(),
            services: WorkQueue::new(),
            namespaces: WorkQueue::new(),
        };
        Self { client: client.clone(), tasks: JoinSet::new(), unlisted: Unlisted::new(), queues }
    }

    /// Watches a kind; `queue` is called for each object that has changed.
    pub(super) fn watch<K>(&mut self, queue: impl Fn(&Queues, &K) + Send + 'static) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.watch_changes(move |queues, change, store| each(change, store, |object| queue(queues, object)))
    }

    /// As [`Wiring::watch`], only the objects of one name.
    pub(super) fn watch_named<K>(
        &mut self,
        name: &str,
        queue: impl Fn(&Queues, &K) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let config = Config::default().fields(&format!("metadata.name={name}"));
        self.inform(config, move |queues, change, store| {
            each(change, store, |object| queue(queues, object));
        })
    }

    /// As [`Wiring::watch`], for who must know when the whole kind was listed.
    pub(super) fn watch_changes<K>(
        &mut self,
        queue: impl Fn(&Queues, &Change<'_, K>, &Store<K>) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.inform(Config::default(), queue)
    }

    fn inform<K>(
        &mut self,
        config: Config,
        queue: impl Fn(&Queues, &Change<'_, K>, &Store<K>) + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let queues = self.queues.clone();
        let api = Api::all(self.client.clone());
        inform(&mut self.tasks, &self.unlisted, api, config, move |change, store| {
            queue(&queues, &change, store);
        })
    }

    /// Runs a controller on its queue, as soon as everything that is watched has been listed.
    pub(super) fn run<C, F, Fut>(
        &mut self,
        name: &'static str,
        queue: impl Fn(&Queues) -> &Queue,
        controller: C,
        reconcile: F,
    ) where
        C: Send + Sync + 'static,
        F: Fn(Arc<C>, Key) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = kube::Result<Next>> + Send + 'static,
    {
        let (queue, listed) = (queue(&self.queues).clone(), self.unlisted.clone());
        let controller = Arc::new(controller);
        self.tasks.spawn(async move {
            listed.none().await;
            queue.run(name, |key| reconcile(controller.clone(), key)).await;
        });
    }

    /// Runs something that needs no queue.
    pub(super) fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// All that was started.
    pub(super) fn tasks(self) -> JoinSet<()> {
        self.tasks
    }
}

/// Calls `act` for the object of a change, or for all when the kind was listed anew.
pub(super) fn each<K>(change: &Change<'_, K>, store: &Store<K>, act: impl Fn(&K))
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    match change {
        Change::Set(object) | Change::Gone(object) => act(object),
        Change::Listed => store.state().iter().for_each(|object| act(object)),
    }
}
