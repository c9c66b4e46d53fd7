//! Child processes that speak JSON lines, and end with this one.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::Failure;

const TAIL_LINES: usize = 30;

/// A child whose lines of standard output are read as they come.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let input = child.stdin.take();
        let (sender, lines) = channel();
        let output = child.stdout.take().ok_or("no standard output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let errors = child.stderr.take().ok_or("no standard error")?;
        let tail = complaints.clone();
        std::thread::spawn(move || keep_tail(errors, &tail));
        Ok(Self { name: name.to_owned(), child, input, lines, complaints })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends one command.
    pub(crate) fn send(&mut self, command: &Json) -> Result<(), Failure> {
        let input = self.input.as_mut().ok_or("the input is closed")?;
        writeln!(input, "{command}").map_err(|e| self.failure(&format!("takes no command: {e}")))
    }

    /// The next line, or none if the deadline passes first.
    pub(crate) fn line(&mut self, deadline: Instant) -> Result<Option<String>, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.failure("ended early")),
        }
    }

    /// A failure that shows the last lines of standard error.
    pub(crate) fn failure(&self, what: &str) -> Failure {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let tail: Vec<&str> = complaints.iter().map(String::as_str).collect();
        format!("{} {what}; its last words:\n{}", self.name, tail.join("\n")).into()
    }

    /// Asks the process to end by SIGTERM and demands status 0.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> Result<(), Failure> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait()
    }

    /// Closes the input and demands that the process ends with status 0.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.input = None;
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(20);
        // Standard output ends when the process does.
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            drop(line);
            if Instant::now() >= deadline {
                return Err(self.failure("does not end"));
            }
        }
        match self.child.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failure(&format!("ended with {status}"))),
            // The pipe may close a moment before the process is gone.
            None if Instant::now() < deadline => {
                let status = self.child.wait()?;
                if status.success() { Ok(()) } else { Err(self.failure(&format!("{status}"))) }
            }
            None => Err(self.failure("does not end")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep_tail(errors: impl Read, tail: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}
