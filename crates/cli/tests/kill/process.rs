//! The server as a process, and the files that it leaves behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use uuid::Uuid;

/// How a server comes to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM, and SIGKILL before or after it has written its last snapshot.
    KillWhileStopping,
    /// SIGTERM.
    Stop,
}

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) app: Uuid,
}

impl Server {
    /// Starts a server on the folder and waits until it listens. `app` is known from an earlier start.
    pub(crate) async fn start(data: &Path, app: Option<Uuid>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tricedb"))
            .args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        // Its standard output ends with it, so that a server which fails to start is no endless wait.
        let lines = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::new();
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let is_ready = line.starts_with("listening on ");
                lines.push(line);
                if is_ready {
                    break;
                }
            }
            lines
        });
        let lines = lines.await.unwrap();
        let after = |head: &str| {
            let rest = lines.iter().find_map(|line| line.strip_prefix(head));
            rest.map(|rest| rest.trim().to_owned())
        };
        let url = after("listening on ").unwrap_or_else(|| panic!("it did not start: {lines:?}"));
        let app = app.unwrap_or_else(|| after("app id").unwrap().parse().unwrap());
        Self { child, url, app }
    }

    /// Returns when the process is gone.
    pub(crate) fn end(&mut self, end: End) {
        if end != End::Kill {
            let pid = rustix::process::Pid::from_child(&self.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        match end {
            End::Kill => self.child.kill().unwrap(),
            End::KillWhileStopping => {
                // Any moment of it will do.
                let micros = (Uuid::new_v4().as_u128() % 30_000) as u64;
                std::thread::sleep(Duration::from_micros(micros));
                self.child.kill().unwrap();
            }
            End::Stop => {}
        }
        let status = self.child.wait().unwrap();
        assert!(end != End::Stop || status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks every database in the folder on a copy, so that the server itself finds them as the kill left
/// them. Gives the position of the app's snapshot.
pub(crate) async fn check_files(data: &Path, copy: &Path) -> i64 {
    let (mut databases, mut snapshot) = (0, 0);
    for folder in [data.to_owned(), data.join("apps")] {
        fs::create_dir_all(copy).unwrap();
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        let names = fs::read_dir(copy).unwrap().map(|entry| entry.unwrap().path());
        let is_database = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "db");
        for path in names.filter(is_database).collect::<Vec<_>>() {
            let options = SqliteConnectOptions::new().filename(&path);
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let verdict: String = sqlx::query_scalar("PRAGMA integrity_check")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(verdict, "ok", "{}", path.display());
            if folder != data {
                snapshot = sqlx::query_scalar("SELECT snapshot_position FROM state")
                    .fetch_one(&mut connection)
                    .await
                    .unwrap();
            }
            connection.close().await.unwrap();
            databases += 1;
        }
        fs::remove_dir_all(copy).unwrap();
    }
    assert_eq!(databases, 2, "the accounts and the app");
    snapshot
}
