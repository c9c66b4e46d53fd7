//! Child processes that serve: started, waited for until they listen, never left behind.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{BenchError, io_error};

/// What a serving process prints before its address.
pub(crate) const ANNOUNCEMENT: &str = "listening on http://";

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const QUOTED_BYTES: usize = 4096;

/// A serving child process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Serving {
    name: &'static str,
    child: Child,
    address: String,
    /// From the start to the announcement.
    started_in: Duration,
}

impl Serving {
    /// Starts a program and waits until it has announced its address; its errors go to a file in
    /// `folder`. The standard input stays open for as long as the child is wanted.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::NotReady`].
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let log = folder.join("errors.log");
        let errors = File::create(&log).map_err(io_error("make a log file"))?;
        let start = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(io_error("start a server process"))?;
        let announced = follow(&mut child);
        let mut serving = Self { name, child, address: String::new(), started_in: Duration::ZERO };
        match announced.recv_timeout(START_LIMIT) {
            Ok((address, at)) => {
                serving.address = address;
                serving.started_in = at.duration_since(start);
                Ok(serving)
            }
            Err(_) => Err(BenchError::NotReady { name, log: tail(&log) }),
        }
    }

    /// Its address, `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// How long it took until it listened.
    pub(crate) const fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Its resident memory in bytes.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub(crate) fn resident_bytes(&self) -> Result<u64, BenchError> {
        resident_bytes(&self.child.id().to_string())
    }

    /// The processor time that it has used so far.
    ///
    /// # Errors
    /// [`BenchError::Io`].
    pub(crate) fn cpu_time(&self) -> Result<Duration, BenchError> {
        cpu_time(&self.child.id().to_string())
    }

    /// Asks it to end, by SIGTERM and the end of its input, and waits until it has.
    ///
    /// # Errors
    /// [`BenchError::TooSlow`], [`BenchError::Io`]; the child is killed then.
    pub(crate) fn stop(mut self) -> Result<(), BenchError> {
        drop(self.child.stdin.take());
        if let Some(pid) =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .map_err(|error| io_error("stop a server process")(error.into()))?;
        }
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            let ended = self.child.try_wait().map_err(io_error("wait for a server process"))?;
            if ended.is_some() {
                return Ok(());
            }
            thread::sleep(POLL_INTERVAL);
        }
        Err(BenchError::TooSlow { wanted: self.name, limit: STOP_LIMIT })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do for a child that cannot be killed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Reads the child's output to its end, and sends on the first address that it announces.
fn follow(child: &mut Child) -> mpsc::Receiver<(String, Instant)> {
    let (announce, announced) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix(ANNOUNCEMENT) {
                    // Nobody waits any more once the address is known.
                    _ = announce.send((address.trim().to_owned(), Instant::now()));
                }
            }
        });
    }
    announced
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let from = bytes.len().saturating_sub(QUOTED_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Resident memory in bytes of a process by its number, or of this one: `self`.
///
/// # Errors
/// [`BenchError::Io`], [`BenchError::Unexpected`] where there is no such record.
pub(crate) fn resident_bytes(process: &str) -> Result<u64, BenchError> {
    let path: PathBuf = ["/proc", process, "status"].iter().collect();
    let status = fs::read_to_string(path).map_err(io_error("read the memory of a process"))?;
    parse_resident(&status)
        .ok_or(BenchError::Unexpected { wanted: "VmRSS in a process's status", got: status })
}

/// The processor time that the present threads of a process have used so far, by its number, or of this one:
/// `self`.
///
/// # Errors
/// [`BenchError::Io`].
pub(crate) fn cpu_time(process: &str) -> Result<Duration, BenchError> {
    const ACTION: &str = "read the processor time of a process";
    let tasks: PathBuf = ["/proc", process, "task"].iter().collect();
    let mut nanos = 0;
    for task in fs::read_dir(tasks).map_err(io_error(ACTION))? {
        let task = task.map_err(io_error(ACTION))?.path();
        // A thread may end between being listed and being read.
        let record = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        nanos += record.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
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
    fn a_child_is_ready_once_it_says_so_and_ends_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo starting; echo 'listening on http://127.0.0.1:4321'; cat";
        let child = Serving::start("the script", &mut shell(script), folder.path()).unwrap();
        assert_eq!(child.address(), "127.0.0.1:4321");
        assert!(child.resident_bytes().unwrap() > 0);
        child.stop().unwrap();
    }

    #[test]
    fn a_child_that_ends_early_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = shell("echo no such luck >&2; exit 1");
        let error = Serving::start("the script", &mut command, folder.path()).unwrap_err();
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn resident_memory_is_read() {
        let status = "Name:\tx\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse_resident(status), Some(1234 * 1024));
        assert_eq!(parse_resident("Name:\tx\n"), None);
        assert!(resident_bytes("self").unwrap() > 100_000);
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = cpu_time("self").unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        assert!(cpu_time("self").unwrap() > before);
    }
}
