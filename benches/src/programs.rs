//! The processes that the benchmarks measure, each with a directory of its own.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::child::Serving;
use crate::error::{BenchError, io_error};

/// The hidden command of this program that runs the relay.
pub(crate) const RELAY: &str = "relay";
/// The hidden command of this program that passes frames of one connection on to all others.
pub(crate) const BROADCAST: &str = "broadcast";
/// The hidden command of this program that stores a row for each frame.
pub(crate) const COMMITTER: &str = "committer";
/// The hidden command of this program that loads rows and reports what it took.
pub(crate) const LOAD: &str = "load";

/// Where the programs are, and where they may write.
#[derive(Debug)]
pub(crate) struct Programs {
    itself: PathBuf,
    tricedb: PathBuf,
    folder: TempDir,
    /// How many directories were given out.
    directories: Cell<u32>,
}

/// Whether a server has the endpoints for development.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ServeMode {
    /// As in production.
    Plain,
    /// With `--dev`: apps can be made over HTTP.
    Dev,
}

impl Programs {
    /// Programs with `tricedb` at this path, or else beside this program. Data goes to a new directory
    /// beside this program too: directories for temporary files may be in memory.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub(crate) fn find(tricedb: Option<PathBuf>) -> Result<Self, BenchError> {
        let itself = env::current_exe().map_err(io_error("find this program"))?;
        let beside = itself.parent().unwrap_or(Path::new("."));
        let tricedb = tricedb.unwrap_or_else(|| beside.join("tricedb"));
        let folder = tempfile::Builder::new()
            .prefix("bench-")
            .tempdir_in(beside)
            .map_err(io_error("make a directory"))?;
        Ok(Self { itself, tricedb, folder, directories: Cell::new(0) })
    }

    /// The path of `tricedb`.
    pub(crate) fn tricedb(&self) -> &Path {
        &self.tricedb
    }

    /// A new directory.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub(crate) fn directory(&self) -> Result<PathBuf, BenchError> {
        let number = self.directories.get();
        self.directories.set(number + 1);
        let path = self.folder.path().join(number.to_string());
        fs::create_dir(&path).map_err(io_error("make a directory"))?;
        Ok(path)
    }

    /// Starts the relay.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn relay(&self) -> Result<Serving, BenchError> {
        let mut command = Command::new(&self.itself);
        Serving::start("the relay", command.arg(RELAY), &self.directory()?)
    }

    /// Starts the process that passes frames of one connection on to all others.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn broadcaster(&self) -> Result<Serving, BenchError> {
        let mut command = Command::new(&self.itself);
        Serving::start("the broadcaster", command.arg(BROADCAST), &self.directory()?)
    }

    /// Starts the process that stores a row for each frame.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn committer(&self) -> Result<Serving, BenchError> {
        let folder = self.directory()?;
        let mut command = Command::new(&self.itself);
        Serving::start("the bare server", command.arg(COMMITTER).current_dir(&folder), &folder)
    }

    /// Starts `tricedb serve --dev --memory`: its log is not written anywhere.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn memory_server(&self) -> Result<Serving, BenchError> {
        let mut command = Command::new(&self.tricedb);
        command.args(["serve", "--listen", "127.0.0.1:0", "--dev", "--memory"]);
        Serving::start("tricedb serve --memory", &mut command, &self.directory()?)
    }

    /// Starts `tricedb serve --dev` on new data.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn server(&self) -> Result<Serving, BenchError> {
        let data = self.directory()?.join("data");
        self.server_on(&data, ServeMode::Dev)
    }

    /// Starts `tricedb serve` on a data directory.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn server_on(&self, data: &Path, mode: ServeMode) -> Result<Serving, BenchError> {
        let mut command = Command::new(&self.tricedb);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        if mode == ServeMode::Dev {
            command.arg("--dev");
        }
        Serving::start("tricedb serve", &mut command, &self.directory()?)
    }

    /// What a fresh process reports of loading rows.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) fn output_of_loading(&self) -> Result<String, BenchError> {
        let output = Command::new(&self.itself)
            .arg(LOAD)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(io_error("start this program again"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
