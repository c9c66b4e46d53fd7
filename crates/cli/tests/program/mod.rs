//! The program in processes of its own: commands, and a server.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tricedb");

pub(crate) fn run(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .current_dir(dir)
        .env_remove("TRICEDB_ADMIN_TOKEN")
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The last line of what a command that succeeded printed, as JSON.
pub(crate) fn result(output: &Output) -> Json {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap()
}

/// What a command that failed said.
pub(crate) fn failure(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr)
}

/// A server in its own process, killed if the test fails.
pub(crate) struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    /// What it printed before it was ready.
    pub(crate) printed: Vec<String>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut printed = Vec::new();
        let url = loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).unwrap(), 0, "ended before it was ready");
            match line.trim_end().strip_prefix("listening on ") {
                Some(url) => break url.to_owned(),
                None => printed.push(line.trim_end().to_owned()),
            }
        };
        Self { process, output, printed, url }
    }

    /// Ends it as a service manager does; whether it ended well, and all that it had printed since.
    pub(crate) fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
        let status = self.process.wait().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        self.process.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
