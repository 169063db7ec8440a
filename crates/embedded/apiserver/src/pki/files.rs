//! Reading and writing key files: whole or not at all, private ones for the owner only.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::ServerError;

pub(super) fn make_directory(path: &Path) -> Result<(), ServerError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| ServerError::pki(path, &error))
}

/// The file's text; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, ServerError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::pki(path, &error)),
    }
}

pub(super) fn write_private(path: &Path, text: &str) -> Result<(), ServerError> {
    write(path, text, 0o600).map_err(|error| ServerError::pki(path, &error))
}

pub(super) fn write_public(path: &Path, text: &str) -> Result<(), ServerError> {
    write(path, text, 0o644).map_err(|error| ServerError::pki(path, &error))
}

/// Writes beside and renames, so that a crash leaves the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
