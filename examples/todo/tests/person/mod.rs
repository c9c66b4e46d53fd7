//! Somebody at a terminal.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Person {
    pub(crate) child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Person {
    pub(crate) fn sits_down(program: &str, app: &str, url: &str, name: &str) -> Self {
        let mut child = Command::new(program)
            .args([app, "--url", url, "--name", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    pub(crate) async fn types(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn sees(&mut self, text: &str) {
        let mut seen = Vec::new();
        let looking = async {
            while let Some(line) = self.output.next_line().await.unwrap() {
                if line.contains(text) {
                    return;
                }
                seen.push(line);
            }
            panic!("the program ended");
        };
        if tokio::time::timeout(SOON, looking).await.is_err() {
            panic!("`{text}` was not seen, but {seen:#?}");
        }
    }
}
