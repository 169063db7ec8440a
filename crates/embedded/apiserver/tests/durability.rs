//! The store, killed at random under load: what was acknowledged is there.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use portolan_apiserver::store::{Store, StoreError, Window};
use serde_json::json;

/// Set for the process that writes and gets killed: the store's file.
const VICTIM: &str = "PORTOLAN_DURABILITY_STORE";
const ROUNDS: usize = 6;
const WRITERS: usize = 8;

/// Not a test of its own: the process that the test starts, and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let store = Store::open(Path::new(&path), Window::default()).unwrap();
    let writer = |number: usize| {
        let store = store.clone();
        async move {
            let name = format!("w{number}");
            loop {
                let old = store.get("/things", "ns", &name);
                let count = old.as_ref().map_or(0, |object| object.value["count"].as_u64().unwrap());
                let value = json!({"metadata": {"name": name, "namespace": "ns"}, "count": count + 1});
                let written = match old {
                    None => store.create("/things", "ns", &name, value, Vec::new()).await.unwrap(),
                    Some(old) => store.update("/things", "ns", &name, old.revision, value).await.unwrap(),
                };
                // One write call per line: a killed process leaves at most one line unfinished.
                let line = format!("{name} {} {}\n", count + 1, written.revision);
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        }
    };
    let writers = (0..WRITERS).map(|number| tokio::spawn(writer(number)));
    futures::future::join_all(writers).await;
}

#[test]
fn nothing_acknowledged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let mut seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut newest = 0;
    for round in 0..ROUNDS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lifetime = Duration::from_millis(u64::from(seed % 400));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (first, begun) = std::sync::mpsc::sync_channel(1);
        let reader = std::thread::spawn(move || {
            let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
            let mut revisions = Vec::new();
            for line in output.lines().map_while(Result::ok) {
                let parts: Vec<&str> = line.split(' ').collect();
                let [name, count, revision] = parts[..] else { continue };
                let (Ok(count), Ok(revision)) = (count.parse(), revision.parse()) else { continue };
                acknowledged.insert(name.to_owned(), count);
                revisions.push(revision);
                let _ = first.try_send(());
            }
            (acknowledged, revisions)
        });
        begun.recv().expect("something is written");
        // A kill comes at a moment that nothing announces: that is what is tried.
        #[expect(clippy::disallowed_methods, reason = "a test that waits on a thread of its own")]
        std::thread::sleep(lifetime);
        child.kill().unwrap();
        child.wait().unwrap();
        let (acknowledged, mut revisions): (_, Vec<u64>) = reader.join().unwrap();
        let about =
            format!("round {round}, killed {lifetime:?} after its first write, {} writes", revisions.len());
        revisions.sort_unstable();
        assert!(revisions.windows(2).all(|pair| pair[0] < pair[1]), "{about}: a revision came twice");
        assert!(revisions[0] > newest, "{about}: a revision of an earlier run came again");

        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(&path, Window::default()).unwrap();
            for (name, count) in &acknowledged {
                let object =
                    store.get("/things", "ns", name).unwrap_or_else(|| panic!("{about}: {name} is lost"));
                let found = object.value["count"].as_u64().unwrap();
                // One write more may have been committed and not yet told.
                assert!(found == *count || found == count + 1, "{about}: {name} is at {found}, told {count}");
            }
            assert!(store.revision() >= revisions[revisions.len() - 1], "{about}");
            newest = store.revision();
            store.close().await;
        });
    }
}

#[test]
fn a_damaged_store_is_refused_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let garbage = b"not a database ".repeat(1000);
    std::fs::write(&path, &garbage).unwrap();
    assert!(matches!(Store::open(&path, Window::default()), Err(StoreError::Damaged { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), garbage);
}
