//! The database file: format, checks at open, and the commit.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, params};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::object::{Event, Object};
use super::state::Loaded;

/// Rights of the store's files.
const PRIVATE: u32 = 0o600;
/// Marks the file as ours (SQLite's `application_id`): "PTLN".
const APPLICATION_ID: i64 = 0x5054_4c4e;
/// The format that this program writes (SQLite's `user_version`).
const FORMAT: i64 = 1;
/// Pages in the write-ahead log before they are moved into the file: 4 MiB.
const CHECKPOINT_PAGES: i64 = 1000;

/// Revisions for which the lock file is written at once: writing it costs as much as a commit.
const MARK_STEP: u64 = 10_000;

const SCHEMA: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE objects (
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, body BLOB NOT NULL, digest BLOB NOT NULL,
        PRIMARY KEY (resource, namespace, name)
    );
    CREATE TABLE resources (resource TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;
";

pub(super) struct Database {
    path: PathBuf,
    connection: Connection,
    /// Held for as long as the database is open.
    lock: Lock,
    /// No revision above this has been given out, says the lock file.
    mark: u64,
}

/// The lock file, locked.
struct Lock(File);

impl Drop for Lock {
    /// A child that has been forked and has not yet become its program holds the file as well: closing ours alone would
    /// leave it locked until then.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<(Database, Loaded), StoreError> {
        let io = |source| StoreError::Io { path: path.to_owned(), source };
        let (lock, known_id, mark) = take_lock(path)?;
        let length = match std::fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io(error)),
        };
        let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
        let sql = |error: rusqlite::Error| StoreError::of_sqlite(path, &error);
        make_private(path)?;
        if let Some(lost) = super::wal::check(path).map_err(io)? {
            tracing::error!(
                path = %path.display(),
                "the write-ahead log {}-wal is damaged: {lost} commits behind the damage cannot be read and are lost; the \
                 cluster starts with the state before them. Check the disk's health, and compare with a copy if you have one",
                path.display()
            );
        }
        if length == 0 {
            if known_id.is_some() {
                return Err(damaged("the file is missing or empty, but it was in use before".into()));
            }
            let connection = create(path).map_err(sql)?;
            let mut database = Database { path: path.to_owned(), connection, lock, mark: 0 };
            let loaded = database.load(known_id.as_deref())?;
            database.mark = loaded.revision;
            return Ok((database, loaded));
        }
        let mut connection = existing(path).map_err(sql)?;
        if known_id.is_none() && is_blank(&connection) {
            // The very first start was cut off before it had written anything.
            drop(connection);
            connection = create(path).map_err(sql)?;
        }
        let mut database = Database { path: path.to_owned(), connection, lock, mark };
        let mut loaded = database.load(known_id.as_deref())?;
        database.prepare().map_err(sql)?;
        // Versions that may have been given out before a crash or a loss are not given out again.
        loaded.revision = loaded.revision.max(mark);
        database.mark = loaded.revision;
        Ok((database, loaded))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks everything, reads everything.
    fn load(&self, known_id: Option<&str>) -> Result<Loaded, StoreError> {
        let damaged = |what: String| StoreError::Damaged { path: self.path.clone(), what };
        let sql = |error: rusqlite::Error| StoreError::of_sqlite(&self.path, &error);
        let number = |pragma: &str| -> Result<i64, StoreError> {
            self.connection.query_row(pragma, [], |row| row.get(0)).map_err(sql)
        };
        if number("PRAGMA application_id")? != APPLICATION_ID {
            return Err(damaged("it is not a Portolan store".into()));
        }
        let format = number("PRAGMA user_version")?;
        if format > FORMAT {
            return Err(StoreError::Newer { path: self.path.clone(), found: format, known: FORMAT });
        }
        let verdict: String =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
        if verdict != "ok" {
            return Err(damaged(verdict));
        }
        let meta = |key: &str| -> Result<String, StoreError> {
            self.connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
                .map_err(|error| damaged(format!("no {key}: {error}")))
        };
        let id = meta("id")?;
        match known_id {
            Some(known) if known != id => {
                return Err(damaged(format!(
                    "it is another store ({id}) than the one used here before ({known})"
                )));
            }
            Some(_) => {}
            None => self.remember(&id, 0)?,
        }
        let revision: u64 =
            meta("revision")?.parse().map_err(|error| damaged(format!("revision: {error}")))?;
        let objects = self.load_objects(revision)?;
        let mut statement =
            self.connection.prepare("SELECT resource, revision FROM resources").map_err(sql)?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
            .map_err(sql)?;
        let mut last_changes = Vec::new();
        for row in rows {
            let (resource, changed) = row.map_err(sql)?;
            last_changes.push((resource.into(), u64::try_from(changed).unwrap_or(revision)));
        }
        Ok(Loaded { revision, objects, last_changes })
    }

    fn load_objects(&self, newest: u64) -> Result<Vec<Arc<Object>>, StoreError> {
        let damaged = |what: String| StoreError::Damaged { path: self.path.clone(), what };
        let sql = |error: rusqlite::Error| StoreError::of_sqlite(&self.path, &error);
        let mut statement = self
            .connection
            .prepare("SELECT resource, namespace, name, revision, body, digest FROM objects")
            .map_err(sql)?;
        let mut rows = statement.query([]).map_err(sql)?;
        let mut objects = Vec::new();
        // A cluster has few resources: share their names.
        let mut names: std::collections::HashMap<String, Arc<str>> = std::collections::HashMap::new();
        while let Some(row) = rows.next().map_err(sql)? {
            let mut share = |text: String| -> Arc<str> {
                names.entry(text.clone()).or_insert_with(|| text.into()).clone()
            };
            let resource = share(row.get(0).map_err(sql)?);
            let namespace = share(row.get(1).map_err(sql)?);
            let name: Arc<str> = row.get::<_, String>(2).map_err(sql)?.into();
            let revision = row.get::<_, i64>(3).map_err(sql)?;
            let body: Vec<u8> = row.get(4).map_err(sql)?;
            let stored: Vec<u8> = row.get(5).map_err(sql)?;
            let place = || format!("{resource} {namespace}/{name}");
            let revision =
                u64::try_from(revision).ok().filter(|revision| *revision <= newest).ok_or_else(|| {
                    damaged(format!("{} has revision {revision}, the newest is {newest}", place()))
                })?;
            if digest(&resource, &namespace, &name, &body) != stored {
                return Err(damaged(format!("{} does not match its checksum", place())));
            }
            let value: Value =
                serde_json::from_slice(&body).map_err(|error| damaged(format!("{}: {error}", place())))?;
            objects.push(Arc::new(Object { resource, namespace, name, revision, value, json: body.into() }));
        }
        Ok(objects)
    }

    /// Notes the store's id in the lock file, so that a vanished database is noticed, and the revision up to which
    /// versions may have been given out, so that none comes twice.
    fn remember(&self, id: &str, mark: u64) -> Result<(), StoreError> {
        let mut lock = &self.lock.0;
        // In place and of one length: a write that is cut off leaves the old text or the new one.
        let text = format!("{id} {mark:020}\n");
        lock.seek(SeekFrom::Start(0))
            .and_then(|_| lock.write_all(text.as_bytes()))
            .and_then(|()| lock.set_len(text.len() as u64))
            .and_then(|()| lock.sync_all())
            .map_err(|source| StoreError::Io { path: lock_path(&self.path), source })
    }

    /// Raises the mark in the lock file to `mark`.
    fn raise(&mut self, mark: u64) -> Result<(), String> {
        let id: rusqlite::Result<String> =
            self.connection.query_row("SELECT value FROM meta WHERE key = 'id'", [], |row| row.get(0));
        let id = id.map_err(|error| error.to_string())?;
        self.remember(&id, mark).map_err(|error| error.to_string())?;
        self.mark = mark;
        Ok(())
    }

    /// Settings for writing; nothing before this changes an existing file.
    fn prepare(&self) -> rusqlite::Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        write_settings(&self.connection)
    }

    /// Writes a batch in one transaction. When it answers `Ok`, the batch is on the disk.
    pub(super) fn commit(&mut self, events: &[Arc<Event>], revision: u64) -> Result<(), String> {
        if revision > self.mark {
            self.raise(revision + MARK_STEP)?;
        }
        self.try_commit(events, revision).map_err(|error| error.to_string())
    }

    fn try_commit(&mut self, events: &[Arc<Event>], revision: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO objects (resource, namespace, name, revision, body, digest)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET revision = ?4, body = ?5, digest = ?6",
            )?;
            let mut remove = transaction
                .prepare_cached("DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?;
            let mut touch = transaction.prepare_cached(
                "INSERT INTO resources (resource, revision) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET revision = ?2",
            )?;
            for event in events {
                let object = &event.object;
                if event.deleted {
                    remove.execute(params![&*object.resource, &*object.namespace, &*object.name])?;
                } else {
                    put.execute(params![
                        &*object.resource,
                        &*object.namespace,
                        &*object.name,
                        signed(event.revision),
                        &*object.json,
                        digest(&object.resource, &object.namespace, &object.name, &object.json),
                    ])?;
                }
                touch.execute(params![&*object.resource, signed(event.revision)])?;
            }
            transaction
                .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'revision'")?
                .execute([revision.to_string()])?;
        }
        transaction.commit()
    }

    pub(super) fn close(mut self, revision: u64) {
        // After an orderly end the numbers go on without a gap.
        if self.mark > revision
            && let Err(error) = self.raise(revision)
        {
            tracing::warn!(path = %self.path.display(), %error, "noting the last version");
        }
        // The lock goes last.
        let Database { connection, path, lock: _lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(path = %path.display(), %error, "closing the store");
        }
    }
}

fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn digest(resource: &str, namespace: &str, name: &str, body: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in [resource.as_bytes(), namespace.as_bytes(), name.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    // Against rot, not against an attacker: half of it is plenty.
    hash.finalize().iter().take(16).copied().collect()
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Locks the store for this process; answers the id of the store that was used here before,
/// and the revision up to which versions may have been given out.
fn take_lock(path: &Path) -> Result<(Lock, Option<String>, u64), StoreError> {
    let lock_path = lock_path(path);
    let io = |source| StoreError::Io { path: lock_path.clone(), source };
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(PRIVATE)
        .open(&lock_path)
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    let lock = Lock(lock);
    let mut text = String::new();
    (&lock.0).take(128).read_to_string(&mut text).map_err(io)?;
    let mut words = text.split_whitespace();
    let id = words.next().map(str::to_owned);
    let mark = words.next().and_then(|mark| mark.parse().ok()).unwrap_or(0);
    Ok((lock, id, mark))
}

/// Makes the files readable for their owner only: all Secrets are in them. SQLite gives its log the rights of the database.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    OpenOptions::new().create(true).truncate(false).write(true).mode(PRIVATE).open(path).map_err(io)?;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let path = PathBuf::from(name);
        let io = |source| StoreError::Io { path: path.clone(), source };
        match std::fs::metadata(&path) {
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                std::fs::set_permissions(&path, Permissions::from_mode(PRIVATE)).map_err(io)?;
                tracing::warn!(path = %path.display(), "others could read the store's file: now its owner only can");
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    Ok(())
}

fn write_settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: the log is synced at every commit, so an acknowledged write survives power loss.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "locking_mode", "NORMAL")
}

fn create(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    write_settings(&connection)?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute(
        "INSERT INTO meta (key, value) VALUES ('id', ?1), ('revision', '0')",
        [uuid::Uuid::new_v4().to_string()],
    )?;
    connection.execute_batch("COMMIT")?;
    Ok(connection)
}

fn is_blank(connection: &Connection) -> bool {
    let tables = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    let owner = connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0));
    matches!((tables, owner), (Ok(0), Ok(0)))
}

fn existing(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // Until the checks have passed, closing must not move the log into the file.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_store_is_free_whoever_has_inherited_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let (database, _) = Database::open(&path).unwrap();
        assert!(matches!(Database::open(&path), Err(StoreError::Locked { .. })));
        let inherited = database.lock.0.try_clone().unwrap();
        database.close(0);
        Database::open(&path).unwrap();
        drop(inherited);
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_reads_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let all =
            ["store.db", "store.db-wal", "store.db-shm", "store.db.lock"].map(|n| directory.path().join(n));
        let (database, _) = Database::open(&path).unwrap();
        for file in &all {
            assert_eq!(mode(file), 0o600, "{}", file.display());
            std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        // As a process that was killed leaves them.
        drop(database);
        let (_database, _) = Database::open(&path).unwrap();
        for file in all.iter().filter(|file| file.exists()) {
            assert_eq!(mode(file), 0o600, "{}", file.display());
        }
    }

    #[test]
    fn versions_do_not_come_twice_when_commits_are_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        Database::open(&path).unwrap().0.close(0);
        let (mut database, _) = Database::open(&path).unwrap();
        database.commit(&[], 7).unwrap();
        // A copy without the log: the commit is lost.
        let copy = tempfile::tempdir().unwrap();
        for name in ["store.db", "store.db.lock"] {
            std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
        }
        let path = copy.path().join("store.db");
        let (database, loaded) = Database::open(&path).unwrap();
        assert!(loaded.revision >= 7, "version {} was given out before", loaded.revision);
        database.close(loaded.revision);
        let (_, again) = Database::open(&path).unwrap();
        assert_eq!(again.revision, loaded.revision, "an orderly end leaves no gap");
    }
}
