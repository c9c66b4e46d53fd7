//! The data directory: its lock, its names, and files that appear whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use tricedb_core::id::AppId;

use super::StoreError;

const UNFINISHED: &str = "new";

/// A locked data directory.
#[derive(Debug)]
pub(super) struct DataDirectory {
    apps: PathBuf,
    root: PathBuf,
    /// Holds the lock until it is dropped; the system frees it when the process dies.
    _lock: File,
}

impl DataDirectory {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let apps = root.join("apps");
        make_private(root).and_then(|()| make_private(&apps)).map_err(failed("create", &apps))?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: root.into() }),
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        let directory = Self { root: root.into(), apps, _lock: lock };
        directory.remove_unfinished()?;
        Ok(directory)
    }

    pub(super) fn table_path(&self) -> PathBuf {
        self.root.join("tricedb.db")
    }

    pub(super) fn log_path(&self, id: AppId) -> PathBuf {
        self.apps.join(format!("{id}.db"))
    }

    /// A place for a log that is not whole yet.
    pub(super) fn unfinished_log(&self, id: AppId) -> UnfinishedLog {
        let target = self.log_path(id);
        let temporary = target.with_extension(UNFINISHED);
        remove_database(&temporary);
        UnfinishedLog { temporary, target }
    }

    pub(super) fn remove_log(&self, id: AppId) -> Result<(), StoreError> {
        let path = self.log_path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
        remove_database(&path);
        Ok(())
    }

    /// Removes what a killed process had begun.
    fn remove_unfinished(&self) -> Result<(), StoreError> {
        let entries = fs::read_dir(&self.apps).map_err(failed("list", &self.apps))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                remove_database(&path);
            }
        }
        Ok(())
    }
}

/// A log under a temporary name, removed on drop unless [`Self::finish`]ed.
#[derive(Debug)]
pub(super) struct UnfinishedLog {
    temporary: PathBuf,
    target: PathBuf,
}

impl UnfinishedLog {
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the log its name, durably.
    pub(super) fn finish(self) -> Result<NewLog, StoreError> {
        // What a crash between renaming and listing once left under this name is nobody's.
        remove_database(&self.target);
        let moved = || {
            File::open(&self.temporary)?.sync_all()?;
            fs::rename(&self.temporary, &self.target)?;
            match self.target.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        let log = NewLog { path: Some(self.target.clone()) };
        moved().map_err(failed("write", &self.target))?;
        Ok(log)
    }
}

impl Drop for UnfinishedLog {
    fn drop(&mut self) {
        remove_database(&self.temporary);
    }
}

/// A log under its name, removed on drop unless it is to be kept.
#[derive(Debug)]
pub(super) struct NewLog {
    path: Option<PathBuf>,
}

impl NewLog {
    pub(super) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for NewLog {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            remove_database(path);
        }
    }
}

/// Makes a directory that only its owner may read: it holds everybody's data.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes a database and what SQLite keeps beside it; what is not there is not missed.
fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}
