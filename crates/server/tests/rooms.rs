//! Rooms over real sockets.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

#[allow(dead_code, unreachable_pub, reason = "made for several test programs")]
mod support;

use serde_json::{Value as Json, json};
use support::Socket;
use tricedb_server::{Config, OpenAppReport, RunningServer, Server};

/// Long enough that a few hundred fill every buffer on the way.
const BYTES: usize = 30_000;

/// Far more than any buffer holds.
const MESSAGES_MAX: u64 = 5_000;

fn report(server: &RunningServer) -> OpenAppReport {
    server.registry().report().remove(0)
}

async fn join(socket: &mut Socket, data: Json) {
    let join = json!({"op": "join-room", "room-type": "t", "room-id": "r", "data": data});
    socket.send(join).await;
    socket.receive("join-room-ok").await;
}

#[tokio::test]
async fn a_member_that_reads_slowly_gets_the_latest_and_misses_the_oldest() {
    let server = Server::builder(Config::default()).start().await.unwrap();
    let app = server.create_app("Rooms", None, None).await.unwrap().id;
    let (mut speaker, _) = Socket::init(&server, app).await;
    let (mut slow, ok) = Socket::init(&server, app).await;
    join(&mut speaker, json!({"n": 0})).await;
    join(&mut slow, json!({})).await;
    // The slow one reads nothing while the other shows and tells, until messages are dropped for it.
    let text = "x".repeat(BYTES);
    let mut sent = 0;
    while report(&server).dropped_broadcasts < 20 {
        sent += 1;
        assert!(sent < MESSAGES_MAX, "nothing is dropped: {:?}", report(&server));
        speaker
            .send(json!({"op": "set-presence", "room-id": "r", "data": {"n": sent, "text": text}}))
            .await;
        speaker.receive("set-presence-ok").await;
        let told = json!({"n": sent, "text": text});
        speaker
            .send(json!({"op": "client-broadcast", "room-id": "r", "topic": "t", "data": told}))
            .await;
        speaker.receive("client-broadcast-ok").await;
    }
    let own = ok["session-id"].as_str().unwrap();
    let (mut told, mut shown, mut lists) = (0, 0, 0);
    let mut received = 0;
    while told < sent || shown < sent {
        let message = slow.next().await.unwrap();
        match message["op"].as_str().unwrap() {
            "server-broadcast" => {
                let n = message["data"]["data"]["n"].as_u64().unwrap();
                assert!(n > told, "{n} after {told}");
                told = n;
                received += 1;
            }
            "refresh-presence" => {
                let peers = message["data"].as_object().unwrap();
                let (_, peer) = peers.iter().find(|(id, _)| *id != own).unwrap();
                let n = peer["data"]["n"].as_u64().unwrap();
                assert!(n >= shown, "{n} after {shown}");
                shown = n;
                lists += 1;
            }
            _ => {}
        }
    }
    assert_eq!(received + report(&server).dropped_broadcasts, sent, "each came or was counted");
    assert!(lists < sent, "presence was folded: {lists} lists of {sent} changes");
    assert_eq!(report(&server).rooms, 1);
    drop((slow, speaker));
    let left = async {
        while report(&server).rooms > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), left).await.unwrap();
    server.shutdown().await.unwrap();
}
