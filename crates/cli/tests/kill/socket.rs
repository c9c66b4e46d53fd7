//! A client's socket that speaks raw JSON and survives the end of the server.

use std::collections::HashMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::ledger::Answer;

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// A session of the app; none if the server is gone.
    pub(crate) async fn open(server: &str, app: Uuid) -> Option<Self> {
        let url = format!("{}/runtime/session?app_id={app}", server.replacen("http", "ws", 1));
        let mut socket = Self(connect_async(url).await.ok()?.0);
        let versions = json!({"@instantdb/core": "v1.0.67"});
        socket.send(&json!({"op": "init", "app-id": app, "versions": versions})).await?;
        socket.receive("init-ok").await?;
        Some(socket)
    }

    /// None if the server is gone.
    pub(crate) async fn send(&mut self, message: &Json) -> Option<()> {
        self.0.send(Message::text(message.to_string())).await.ok()
    }

    async fn next(&mut self) -> Option<Json> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    async fn receive(&mut self, op: &str) -> Option<Json> {
        loop {
            let message = self.next().await?;
            if message["op"] == op {
                return Some(message);
            }
            assert_ne!(message["op"], "error", "{message}");
        }
    }

    /// The answer to the next transaction.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        loop {
            let message = self.next().await?;
            let result = match message["op"].as_str().unwrap() {
                "transact-ok" => Ok(message["tx-id"].as_u64().unwrap()),
                "error" => Err(message["message"].as_str().unwrap().to_owned()),
                _ => continue,
            };
            let event = message["client-event-id"].as_str().unwrap().to_owned();
            return Some(Answer { event, result });
        }
    }

    /// Where the log stands, and all books by id with their titles. Right for a session without commits.
    pub(crate) async fn books(&mut self, id: &str, title: &str) -> (u64, HashMap<Uuid, String>) {
        self.send(&json!({"op": "add-query", "q": {"books": {}}})).await.unwrap();
        let answer = self.receive("add-query-ok").await.unwrap();
        let (mut ids, mut titles) = (Vec::new(), HashMap::new());
        for node in answer["result"].as_array().unwrap() {
            for row in node["data"]["datalog-result"]["join-rows"].as_array().unwrap() {
                for triple in row.as_array().unwrap() {
                    let entity: Uuid = triple[0].as_str().unwrap().parse().unwrap();
                    if triple[1] == id {
                        ids.push(entity);
                    } else if triple[1] == title {
                        titles.insert(entity, triple[2].as_str().unwrap().to_owned());
                    }
                }
            }
        }
        assert_eq!(ids.len(), titles.len(), "no transaction is there by half");
        (answer["processed-tx-id"].as_u64().unwrap(), titles)
    }
}
