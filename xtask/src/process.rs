//! Child processes: started with a clean environment, waited for with a limit, never left behind.
//!
//! Every child is registered. A signal to this program stops the registered children before it
//! ends; dropping an [`OwnedChild`] stops that one.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::console::Console;

/// A child process that did not do what it was started for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProcessError {
    /// The program could not be started.
    #[error("cannot start `{command}`; is it installed and on the PATH?")]
    Spawn {
        /// The command line.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program ended with a status other than success.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The program did not end in time and was stopped.
    #[error("`{command}` did not end within {} s and was stopped", limit.as_secs())]
    TooSlow {
        /// The command line.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// The system refused to wait for, signal or read from the child.
    #[error("lost control of `{command}`")]
    Control {
        /// The command line.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The handlers that stop children on a signal could not be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
}

/// Cargo, as this program was started by it, without the variables that describe this package: a
/// build script that watches them would run again for each caller.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(crate::workspace::root());
    command
}

/// Runs a command to its end; its standard output goes where progress goes.
pub(crate) fn run(console: Console, command: &mut Command) -> Result<(), ProcessError> {
    command.stdout(console.child_stdout());
    let child = OwnedChild::spawn(command)?;
    let status = child.wait(Duration::MAX)?;
    if status.success() {
        Ok(())
    } else {
        Err(ProcessError::Failed { command: child.name(), status })
    }
}

/// Runs a command to its end and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, ProcessError> {
    let name = describe(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| ProcessError::Spawn { command: name.clone(), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(ProcessError::Failed { command: name, status: output.status })
    }
}

/// A child process that is stopped when it is dropped, and when this program is told to end.
#[derive(Debug)]
pub(crate) struct OwnedChild {
    name: String,
    child: Arc<Mutex<Child>>,
}

impl OwnedChild {
    /// Starts the command with an empty standard input.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`].
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, ProcessError> {
        let name = describe(command);
        // Holding the list while spawning leaves a signal no moment between start and entry.
        let mut running = lock(&RUNNING);
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|source| ProcessError::Spawn { command: name.clone(), source })?;
        let child = Arc::new(Mutex::new(child));
        running.retain(|child| child.strong_count() > 0);
        running.push(Arc::downgrade(&child));
        Ok(Self { name, child })
    }

    /// The command line.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// The child's standard output, once, if it was piped.
    pub(crate) fn take_stdout(&self) -> Option<ChildStdout> {
        lock(&self.child).stdout.take()
    }

    /// Waits for the child to end by itself; stops it once `limit` has passed.
    ///
    /// # Errors
    /// [`ProcessError::TooSlow`] when the child had to be stopped, [`ProcessError::Control`].
    pub(crate) fn wait(&self, limit: Duration) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.poll_until(limit)? {
            return Ok(status);
        }
        self.stop(STOP_GRACE)?;
        Err(ProcessError::TooSlow { command: self.name(), limit })
    }

    /// Asks the child to end with SIGTERM, and ends it by force once `grace` has passed.
    ///
    /// Gives the status of a child that ended when asked, or earlier by itself.
    ///
    /// # Errors
    /// [`ProcessError::TooSlow`] when it took force, [`ProcessError::Control`].
    pub(crate) fn stop(&self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        ask_to_end(&mut lock(&self.child)).map_err(|source| self.control(source))?;
        if let Some(status) = self.poll_until(grace)? {
            return Ok(status);
        }
        let mut child = lock(&self.child);
        child.kill().and_then(|()| child.wait()).map_err(|source| self.control(source))?;
        Err(ProcessError::TooSlow { command: self.name(), limit: grace })
    }

    fn poll_until(&self, limit: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        let start = Instant::now();
        loop {
            let polled = lock(&self.child).try_wait().map_err(|source| self.control(source))?;
            if polled.is_some() || start.elapsed() >= limit {
                return Ok(polled);
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn control(&self, source: io::Error) -> ProcessError {
        ProcessError::Control { command: self.name(), source }
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // Nothing is left to do for a child that cannot even be killed.
        _ = self.stop(STOP_GRACE);
    }
}

/// Makes SIGINT, SIGTERM and SIGHUP stop the running children before this program ends.
///
/// # Errors
/// [`ProcessError::Signals`].
pub(crate) fn stop_children_on_signals() -> Result<(), ProcessError> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(ProcessError::Signals)?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // The list stays locked, so that no further child can start.
            let running = lock(&RUNNING);
            let children: Vec<_> = running.iter().filter_map(Weak::upgrade).collect();
            for child in &children {
                _ = ask_to_end(&mut lock(child));
            }
            let start = Instant::now();
            for child in &children {
                while start.elapsed() < STOP_GRACE && matches!(lock(child).try_wait(), Ok(None)) {
                    thread::sleep(POLL_INTERVAL);
                }
                _ = lock(child).kill();
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

static RUNNING: Mutex<Vec<Weak<Mutex<Child>>>> = Mutex::new(Vec::new());

const POLL_INTERVAL: Duration = Duration::from_millis(10);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Sends SIGTERM unless the child has ended. The child is not reaped in between, so the number
/// cannot have passed to another process.
fn ask_to_end(child: &mut Child) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    match i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        Some(pid) => Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?),
        None => child.kill(),
    }
}

/// The command line, with the program's name in place of its path.
fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_child_that_listens_ends_when_asked() {
        let child = OwnedChild::spawn(
            shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done")
                .stdout(Stdio::piped()),
        )
        .unwrap();
        let mut stdout = io::BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        assert_eq!(child.stop(Duration::from_secs(30)).unwrap().code(), Some(7));
    }

    #[test]
    fn a_child_that_ignores_the_request_is_ended_by_force() {
        let child = OwnedChild::spawn(
            shell("trap '' TERM; echo ready; while :; do sleep 0.02; done").stdout(Stdio::piped()),
        )
        .unwrap();
        let mut stdout = io::BufReader::new(child.take_stdout().unwrap());
        let mut line = String::new();
        io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let stopped = child.stop(Duration::from_millis(50));
        assert!(matches!(stopped, Err(ProcessError::TooSlow { .. })), "{stopped:?}");
    }

    #[test]
    fn waiting_has_a_limit() {
        let child = OwnedChild::spawn(&mut shell("exec sleep 600")).unwrap();
        let waited = child.wait(Duration::from_millis(30));
        assert!(matches!(waited, Err(ProcessError::TooSlow { .. })), "{waited:?}");
    }

    #[test]
    fn a_failing_command_names_itself() {
        let error = run(Console::Json, &mut shell("exit 3")).unwrap_err();
        assert!(error.to_string().contains("sh -c exit 3"), "{error}");
    }
}
