//! `tricedb serve` killed under load, twenty times: what was acknowledged is there, once.
//!
//! Several sockets keep transactions in flight. At a random moment of it the process gets SIGKILL; the files
//! that it leaves must be whole; started again on them it must hold every transaction that it had
//! acknowledged, give the first outcome to every one that is sent again, and go on with higher positions.
//! A kill does not test the disk: that an acknowledgement waits for the flush is tested in the server.
#![expect(clippy::unwrap_used, reason = "a test")]

mod ledger;
mod process;
mod socket;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use ledger::{Ledger, Transaction};
use process::{End, Server};
use socket::Socket;

const KILLS: usize = 20;
const WRITERS: usize = 6;

const ID: &str = "00000000-0000-4000-8000-0000000000a1";
const TITLE: &str = "00000000-0000-4000-8000-0000000000a2";
const NOTE: &str = "00000000-0000-4000-8000-0000000000a3";

/// Attributes of a namespace `books`.
fn schema() -> Json {
    let attr = |id: &str, ident: u32, label: &str| {
        json!(["add-attr", {
            "id": id, "forward-identity": [Uuid::from_u128(ident.into()), "books", label],
            "value-type": "blob", "cardinality": "one", "unique?": label == "id", "index?": false,
        }])
    };
    json!([attr(ID, 1, "id"), attr(TITLE, 2, "title"), attr(NOTE, 3, "note")])
}

/// The `n`th transaction of a writer: mostly a new book, now and then one that must be refused, or one that
/// is large.
fn transaction(writer: usize, n: usize) -> Transaction {
    let (entity, title) = (Uuid::new_v4(), format!("{writer}/{n}"));
    match n % 8 {
        3 => Transaction::update(entity, &title),
        6 if writer == 0 => {
            let mut create = Transaction::create(entity, &title);
            let notes = (1..500).map(|k| json!(["add-triple", Uuid::from_u128(k), NOTE, title]));
            create.steps.as_array_mut().unwrap().extend(notes);
            create
        }
        _ => Transaction::create(entity, &title),
    }
}

/// Keeps several transactions in flight until the connection breaks.
async fn write(
    writer: usize,
    server: String,
    app: Uuid,
    ledger: Arc<Mutex<Ledger>>,
    answered: mpsc::UnboundedSender<()>,
) {
    let Some(mut socket) = Socket::open(&server, app).await else { return };
    // Refreshes are part of the load.
    let latest = json!({"books": {"$": {"limit": 5, "order": {"serverCreatedAt": "desc"}}}});
    socket.send(&json!({"op": "add-query", "q": latest})).await;
    let depth = 1 + 3 * writer;
    for n in 0.. {
        let transaction = transaction(writer, n);
        let message = transaction.message();
        ledger.lock().unwrap().send(transaction);
        if socket.send(&message).await.is_none() {
            return;
        }
        if n + 1 < depth {
            continue;
        }
        let Some(answer) = socket.answer().await else { return };
        ledger.lock().unwrap().receive(&answer);
        let _ = answered.send(());
    }
}

/// Lets writers write until a random number of answers came, and ends the server under their hands.
async fn end_under_load(server: &mut Server, end: End, ledger: Ledger) -> Ledger {
    let ledger = Arc::new(Mutex::new(ledger));
    let (answered, mut answers) = mpsc::unbounded_channel();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (url, ledger) = (server.url.clone(), ledger.clone());
            tokio::spawn(write(n, url, server.app, ledger, answered.clone()))
        })
        .collect();
    drop(answered);
    for _ in 0..20 + Uuid::new_v4().as_u128() % 120 {
        assert!(answers.recv().await.is_some(), "the writers write until the kill");
    }
    server.end(end);
    for writer in writers {
        writer.await.unwrap();
    }
    Arc::into_inner(ledger).unwrap().into_inner().unwrap()
}

/// After a restart: nothing acknowledged is missing, nothing is there twice, nothing changes its outcome.
async fn verify(server: &Server, ledger: &mut Ledger) {
    let mut socket = Socket::open(&server.url, server.app).await.unwrap();
    let (position, books) = socket.books(ID, TITLE).await;
    ledger.restarted(position);
    ledger.check_acknowledged(&books);
    // What a refused transaction lacked is there now: it is refused all the same.
    for entity in ledger.take_missing() {
        let late = Transaction::create(entity, "late");
        let message = late.message();
        ledger.send(late);
        socket.send(&message).await.unwrap();
        let answer = socket.answer().await.unwrap();
        assert!(answer.result.is_ok(), "{answer:?}");
        ledger.receive(&answer);
    }
    let events = ledger.take_events();
    for burst in events.chunks(50) {
        for event in burst {
            let message = ledger.transaction(event).message();
            socket.send(&message).await.unwrap();
        }
        for _ in burst {
            ledger.receive(&socket.answer().await.unwrap());
        }
    }
    let mut other = Socket::open(&server.url, server.app).await.unwrap();
    let (position, books) = other.books(ID, TITLE).await;
    ledger.check_exactly(position, &books);
}

#[tokio::test]
async fn acknowledged_transactions_survive_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data, None).await;
    let mut socket = Socket::open(&server.url, server.app).await.unwrap();
    let schema = Transaction::of(schema());
    socket.send(&schema.message()).await.unwrap();
    let mut ledger = Ledger::beginning_at(socket.answer().await.unwrap().result.unwrap());
    let mut snapshots = HashSet::new();
    for kill in 0..=KILLS {
        let end = match kill {
            // Once in order, so that there is a snapshot behind the kills that follow.
            10 => End::Stop,
            _ if kill % 4 == 3 => End::KillWhileStopping,
            _ => End::Kill,
        };
        ledger = end_under_load(&mut server, end, ledger).await;
        snapshots.insert(process::check_files(&data, &folder.path().join("copy")).await);
        server = Server::start(&data, Some(server.app)).await;
        verify(&server, &mut ledger).await;
    }
    let (accepted, refused) = ledger.counts();
    let snapshots = snapshots.len() - 1;
    println!("{accepted} accepted, {refused} refused, {snapshots} snapshots over {KILLS} kills");
    assert!(snapshots > 0, "a stop in order takes a snapshot");
    assert!(accepted > KILLS * 15 && refused > KILLS, "{accepted} accepted, {refused} refused");
}
