//! Two people at two terminals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

mod person;

use person::{Person, SOON};
use tricedb_server::{Config, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tricedb-example-todo");

#[tokio::test]
async fn each_sees_what_the_other_does() {
    let server = Server::builder(Config::default()).start().await.unwrap();
    let app = server.create_app("To do", None, None).await.unwrap().id.to_string();
    let url = server.http_url();
    let mut ada = Person::sits_down(PROGRAM, &app, &url, "Ada");
    let mut bob = Person::sits_down(PROGRAM, &app, &url, "Bob");
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
