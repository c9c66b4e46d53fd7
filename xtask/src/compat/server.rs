//! The server under test: `tricedb serve --dev` on a free port, with a data directory of its own.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{OwnedChild, ProcessError};

/// Why the server did not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServerError {
    /// Its data directory or log file could not be made.
    #[error("cannot make a directory for the server's data")]
    Files(#[source] io::Error),
    /// It could not be started, or not be stopped in time.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended, or closed its standard output, before it said that it listens.
    #[error("the server ended before it printed `{ANNOUNCEMENT}ADDR`; its output:\n{log}")]
    EndedEarly {
        /// The end of its log.
        log: String,
    },
    /// It did not say in time that it listens.
    #[error("the server did not print `{ANNOUNCEMENT}ADDR` within {} s; its output:\n{log}", START_LIMIT.as_secs())]
    Silent {
        /// The end of its log.
        log: String,
    },
    /// It came back on another address than it was told to.
    #[error("the server was told to listen on {wanted} and says that it listens on {got}")]
    Moved {
        /// The address of before.
        wanted: String,
        /// The address it announced.
        got: String,
    },
    /// It was asked to end by SIGTERM and did not exit with status 0.
    #[error("the server ended with {status} when asked to end; a graceful stop exits with 0")]
    UncleanStop {
        /// How it ended.
        status: ExitStatus,
    },
}

/// A running server that can be restarted on the same address with the same data.
#[derive(Debug)]
pub(crate) struct Server {
    program: PathBuf,
    folder: TempDir,
    address: String,
    /// The running process; none after [`Server::stop`] and after a failed restart.
    process: Mutex<Option<OwnedChild>>,
}

impl Server {
    /// Starts the server on a free port and waits until it listens.
    ///
    /// # Errors
    /// [`ServerError`], with the end of the server's output where it has any.
    pub(crate) fn start(program: PathBuf) -> Result<Arc<Self>, ServerError> {
        let folder = TempDir::with_prefix("tricedb-compat-").map_err(ServerError::Files)?;
        let (child, address) = launch(&program, folder.path(), "127.0.0.1:0")?;
        Ok(Arc::new(Self { program, folder, address, process: Mutex::new(Some(child)) }))
    }

    /// Its address for clients: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the server by SIGTERM and starts it again with the same address and data.
    ///
    /// # Errors
    /// [`ServerError`]; the server is then down.
    pub(crate) fn restart(&self) -> Result<(), ServerError> {
        let mut process = self.process();
        end(process.take())?;
        let (child, address) = launch(&self.program, self.folder.path(), &self.address)?;
        if address != self.address {
            return Err(ServerError::Moved { wanted: self.address.clone(), got: address });
        }
        *process = Some(child);
        Ok(())
    }

    /// Ends the server by SIGTERM.
    ///
    /// # Errors
    /// [`ServerError::UncleanStop`] when it exits with another status than 0,
    /// [`ServerError::Process`] when it had to be killed.
    pub(crate) fn stop(&self) -> Result<(), ServerError> {
        end(self.process().take())
    }

    /// The last lines of what it printed, over all its starts.
    pub(crate) fn log_tail(&self) -> String {
        log_tail(self.folder.path())
    }

    fn process(&self) -> MutexGuard<'_, Option<OwnedChild>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ANNOUNCEMENT: &str = "listening on http://";
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOG_LINES: usize = 60;

fn end(child: Option<OwnedChild>) -> Result<(), ServerError> {
    let Some(child) = child else { return Ok(()) };
    let status = child.stop(STOP_LIMIT)?;
    if status.success() { Ok(()) } else { Err(ServerError::UncleanStop { status }) }
}

/// Starts the program and gives the address that it announces.
fn launch(
    program: &Path,
    folder: &Path,
    listen: &str,
) -> Result<(OwnedChild, String), ServerError> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_path(folder))
        .map_err(ServerError::Files)?;
    let stderr = log.try_clone().map_err(ServerError::Files)?;
    let child = OwnedChild::spawn(
        Command::new(program)
            .args(["serve", "--dev", "--listen", listen, "--data"])
            .arg(folder.join("data"))
            .stdout(Stdio::piped())
            .stderr(stderr),
    )?;
    let (announce, announced) = mpsc::channel();
    if let Some(stdout) = child.take_stdout() {
        thread::spawn(move || follow(stdout, log, &announce));
    }
    match announced.recv_timeout(START_LIMIT) {
        Ok(address) => Ok((child, address)),
        Err(RecvTimeoutError::Timeout) => Err(ServerError::Silent { log: log_tail(folder) }),
        Err(RecvTimeoutError::Disconnected) => {
            Err(ServerError::EndedEarly { log: log_tail(folder) })
        }
    }
}

/// Copies the server's standard output to the log until it ends, so that the server never waits
/// for a reader, and sends on the address that it announces.
fn follow(stdout: impl Read, mut log: File, announce: &mpsc::Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // The log serves to explain failures; without it the run is as good.
        _ = writeln!(log, "{line}");
        if let Some(address) = line.strip_prefix(ANNOUNCEMENT) {
            _ = announce.send(address.trim().to_owned());
        }
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

fn log_tail(folder: &Path) -> String {
    let Ok(file) = fs::read(log_path(folder)) else { return String::new() };
    let text = String::from_utf8_lossy(&file);
    let mut tail = VecDeque::with_capacity(LOG_LINES);
    for line in text.lines() {
        if tail.len() == LOG_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    Vec::from(tail).join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for the program that plays a script: what is tested here is this module.
    fn program(folder: &TempDir, script: &str) -> PathBuf {
        let path = folder.path().join("program");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    const SERVES: &str = "trap 'exit 0' TERM
        echo starting
        test \"$4\" = 127.0.0.1:0 && echo 'listening on http://127.0.0.1:4321' \\
            || echo \"listening on http://$4\"
        while :; do sleep 0.02; done";

    #[test]
    fn the_address_is_read_and_kept_over_a_restart() {
        let folder = TempDir::new().unwrap();
        let server = Server::start(program(&folder, SERVES)).unwrap();
        assert_eq!(server.url(), "http://127.0.0.1:4321");
        server.restart().unwrap();
        server.stop().unwrap();
        let log = server.log_tail();
        assert_eq!(log.matches("listening on http://127.0.0.1:4321").count(), 2, "{log}");
    }

    #[test]
    fn an_unclean_stop_is_an_error() {
        let folder = TempDir::new().unwrap();
        let script = SERVES.replace("exit 0", "exit 3");
        let server = Server::start(program(&folder, &script)).unwrap();
        assert!(matches!(server.stop(), Err(ServerError::UncleanStop { .. })));
    }

    #[test]
    fn a_server_that_ends_early_is_quoted() {
        let folder = TempDir::new().unwrap();
        let error = Server::start(program(&folder, "echo no such luck >&2; exit 1")).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}
