//! File system work of Pods. It blocks, so that all of it is done off the async threads.
//!
//! Files that come from the API are written the way the kubelet does it: a fresh directory, then one rename of the
//! link `..data`, so that a reader sees the old files or the new ones, never a mix.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("path \"{0}\" must be relative and must not contain `..`")]
    Path(String),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// One file of a volume.
pub(super) struct FileData {
    pub(super) bytes: Vec<u8>,
    /// Permissions, the lowest nine bits.
    pub(super) mode: i32,
}

/// The files of a volume by their paths in it.
pub(super) type Payload = BTreeMap<String, FileData>;

/// Runs `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Makes a directory that everybody may write to.
pub(super) async fn open_to_all(dir: PathBuf) -> Result<(), FileError> {
    let path = dir.clone();
    let made = blocking(move || {
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))
    });
    made.await.map_err(at(&dir))
}

/// Makes exactly `files` the content of a directory, in one step; those of a `group` may read them.
pub(super) async fn replace(dir: PathBuf, files: Payload, group: Option<u32>) -> Result<(), FileError> {
    let path = dir.clone();
    let written = tokio::task::spawn_blocking(move || write_atomically(&path, &files, group));
    written.await.map_err(|error| at(&dir)(io::Error::other(error)))?
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { path, source }
}

fn make_dir(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(at(path))
}

fn relative(path: &str) -> Result<&Path, FileError> {
    let relative = Path::new(path);
    let plain = relative.components().all(|c| matches!(c, Component::Normal(_)));
    if plain && !path.is_empty() && !path.starts_with("..") {
        Ok(relative)
    } else {
        Err(FileError::Path(path.to_owned()))
    }
}

/// Blocks.
fn write_atomically(dir: &Path, files: &Payload, group: Option<u32>) -> Result<(), FileError> {
    make_dir(dir)?;
    let data = dir.join("..data");
    if unchanged(&data, files)? {
        return Ok(());
    }
    let stamp = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = dir.join(&stamp);
    make_dir(&fresh)?;
    for (path, file) in files {
        let path = fresh.join(relative(path)?);
        if let Some(parent) = path.parent()
            && parent != fresh
        {
            make_dir(parent)?;
        }
        fs::write(&path, &file.bytes).map_err(at(&path))?;
        let mut mode = u32::try_from(file.mode).unwrap_or(0o644) & 0o777;
        if group.is_some() {
            std::os::unix::fs::chown(&path, None, group).map_err(at(&path))?;
            mode |= (mode & 0o400) >> 3;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at(&path))?;
    }
    let old = fs::read_link(&data).ok();
    let link = dir.join("..data_tmp");
    let _ = fs::remove_file(&link);
    symlink(&stamp, &link).map_err(at(&link))?;
    fs::rename(&link, &data).map_err(at(&data))?;

    let tops: std::collections::BTreeSet<&Path> = files
        .keys()
        .filter_map(|p| Path::new(p).components().next())
        .map(|c| Path::new(c.as_os_str()))
        .collect();
    for top in &tops {
        let link = dir.join(top);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(top), &link).map_err(at(&link))?;
        }
    }
    for entry in fs::read_dir(dir).map_err(at(dir))?.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_none_or(|n| n.starts_with(".."));
        if !ours && !tops.contains(Path::new(&name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    if let Some(old) = old {
        let _ = fs::remove_dir_all(dir.join(old));
    }
    Ok(())
}

fn unchanged(data: &Path, files: &Payload) -> Result<bool, FileError> {
    if !data.exists() {
        return Ok(false);
    }
    let mut count = 0;
    for (path, file) in files {
        match fs::read(data.join(relative(path)?)) {
            Ok(bytes) if bytes == file.bytes => count += 1,
            _ => return Ok(false),
        }
    }
    Ok(count_files(data) == count)
}

fn count_files(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { count_files(&e.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(p, t)| ((*p).to_owned(), FileData { bytes: t.as_bytes().to_vec(), mode: 0o600 }))
            .collect()
    }

    #[test]
    fn replaces_in_one_step() {
        let dir = std::env::temp_dir().join(format!("ptl-vol-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        write_atomically(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        let first = fs::read_link(dir.join("..data")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        assert_eq!(fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777, 0o600);
        write_atomically(&dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first, "same content, nothing written");
        write_atomically(&dir, &payload(&[("a", "3")]), Some(77)).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert_eq!(
            fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777,
            0o640,
            "readable by fsGroup"
        );
        assert!(!dir.join("sub").exists() && !dir.join(first).exists());
        for bad in ["../x", "/x", "", "a/../b", "..data"] {
            assert!(write_atomically(&dir, &payload(&[(bad, "1")]), None).is_err(), "{bad}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
