//! Two people at two terminals, in one room.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

#[path = "../../todo/tests/person/mod.rs"]
mod person;

use person::{Person, SOON};
use tricedb_server::{Config, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tricedb-example-rooms");

#[tokio::test]
async fn each_sees_who_is_there_and_what_they_do() {
    let server = Server::builder(Config::default()).start().await.unwrap();
    let app = server.create_app("Hall", None, None).await.unwrap().id.to_string();
    let url = server.http_url();
    let mut ada = Person::sits_down(PROGRAM, &app, &url, "Ada");
    ada.sees("you are in").await;
    let mut bob = Person::sits_down(PROGRAM, &app, &url, "Bob");
    bob.sees("+ Ada").await;
    ada.sees("+ Bob").await;
    ada.types("/typing").await;
    bob.sees("… Ada").await;
    bob.sees("nobody is typing").await;
    ada.types("hello").await;
    bob.sees("Ada: hello").await;
    bob.types("/react 🎉").await;
    ada.sees("🎉 Bob").await;
    bob.types("/mood happy").await;
    ada.sees("Bob is happy").await;
    ada.types("/point 3 4").await;
    ada.types("pointed").await;
    bob.sees("Ada: pointed").await;
    bob.types("/quit").await;
    ada.sees("- Bob").await;
    ada.types("/quit").await;
    for mut person in [ada, bob] {
        let status = tokio::time::timeout(SOON, person.child.wait()).await.unwrap().unwrap();
        assert!(status.success());
    }
}
