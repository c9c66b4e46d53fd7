//! Two people at two terminals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tricedb_server::{Config, Server};

const SOON: Duration = Duration::from_secs(20);

struct Person {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Person {
    fn sits_down(app: &str, url: &str, name: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tricedb-example-todo"))
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

    async fn types(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn sees(&mut self, text: &str) {
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

#[tokio::test]
async fn each_sees_what_the_other_does() {
    let server = Server::builder(Config::default()).start().await.unwrap();
    let app = server.create_app("To do", None, None).await.unwrap().id.to_string();
    let url = server.http_url();
    let mut ada = Person::sits_down(&app, &url, "Ada");
    let mut bob = Person::sits_down(&app, &url, "Bob");
    ada.sees("online").await;
    bob.sees("online").await;
    ada.types("add buy milk").await;
    bob.sees("1 [ ] buy milk  (Ada)").await;
    bob.types("done 1").await;
    ada.sees("1 [x] buy milk").await;
    ada.types("offline").await;
    ada.sees("offline").await;
    ada.types("edit 1 buy oat milk").await;
    ada.sees("1 [x] buy oat milk").await;
    bob.types("add sing").await;
    bob.sees("sing  (Bob)").await;
    ada.types("online").await;
    bob.sees("1 [x] buy oat milk").await;
    ada.sees("sing  (Bob)").await;
    for mut person in [ada, bob] {
        person.types("quit").await;
        let status = tokio::time::timeout(SOON, person.child.wait()).await.unwrap().unwrap();
        assert!(status.success());
    }
}
