//! What was sent and what was answered, to hold the server to.

use std::collections::{HashMap, HashSet};

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{ID, TITLE};

/// A transaction as it is sent, each time alike.
#[derive(Debug)]
pub(crate) struct Transaction {
    event: String,
    pub(crate) steps: Json,
    /// The book that is there if it is accepted, with its title.
    book: Option<(Uuid, String)>,
    /// The book for lack of which it is refused.
    missing: Option<Uuid>,
    /// Where the log stood when the server that it is first sent to started.
    floor: u64,
}

impl Transaction {
    pub(crate) fn of(steps: Json) -> Self {
        Self { event: Uuid::new_v4().to_string(), steps, book: None, missing: None, floor: 0 }
    }

    pub(crate) fn create(entity: Uuid, title: &str) -> Self {
        let steps =
            json!([["add-triple", entity, ID, entity], ["add-triple", entity, TITLE, title]]);
        Self { book: Some((entity, title.to_owned())), ..Self::of(steps) }
    }

    /// Refused for as long as there is no such book.
    pub(crate) fn update(entity: Uuid, title: &str) -> Self {
        let steps = json!([["add-triple", entity, TITLE, title, {"mode": "update"}]]);
        Self { missing: Some(entity), ..Self::of(steps) }
    }

    pub(crate) fn message(&self) -> Json {
        json!({"op": "transact", "tx-steps": self.steps, "client-event-id": self.event})
    }
}

/// The answer to a transaction: its position, or why it was refused.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) event: String,
    pub(crate) result: Result<u64, String>,
}

/// All transactions so far, and the first outcome of each.
#[derive(Debug)]
pub(crate) struct Ledger {
    first_position: u64,
    floor: u64,
    highest: u64,
    transactions: HashMap<String, Transaction>,
    outcomes: HashMap<String, Result<u64, String>>,
    positions: HashSet<u64>,
    /// Those of this round, and some of earlier ones.
    events: Vec<String>,
    /// Books for lack of which something was refused, and which are not there yet.
    missing: Vec<Uuid>,
}

impl Ledger {
    pub(crate) fn beginning_at(position: u64) -> Self {
        Self {
            first_position: position,
            floor: position,
            highest: position,
            transactions: HashMap::new(),
            outcomes: HashMap::new(),
            positions: HashSet::new(),
            events: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// A transaction is about to be sent for the first time.
    pub(crate) fn send(&mut self, transaction: Transaction) {
        let event = transaction.event.clone();
        self.events.push(event.clone());
        let transaction = Transaction { floor: self.floor, ..transaction };
        assert!(self.transactions.insert(event, transaction).is_none());
    }

    /// An answer came: the first one, or one that must equal it.
    pub(crate) fn receive(&mut self, answer: &Answer) {
        let sent = &self.transactions[&answer.event];
        let Some(first) = self.outcomes.get(&answer.event) else {
            match &answer.result {
                Ok(position) => {
                    assert!(*position > sent.floor, "{answer:?} goes back behind {}", sent.floor);
                    assert!(self.positions.insert(*position), "{position} is given twice");
                    assert!(sent.missing.is_none(), "{sent:?} must be refused");
                    self.highest = self.highest.max(*position);
                }
                Err(_) => self.missing.push(sent.missing.unwrap()),
            }
            self.outcomes.insert(answer.event.clone(), answer.result.clone());
            return;
        };
        assert_eq!(answer.result, *first, "{answer:?} is not the first outcome");
    }

    /// The server started again, with its log at this position.
    pub(crate) fn restarted(&mut self, position: u64) {
        assert!(position >= self.highest, "{position} is behind {}", self.highest);
        self.floor = position;
    }

    /// Every book that was acknowledged is there.
    pub(crate) fn check_acknowledged(&self, books: &HashMap<Uuid, String>) {
        for (event, outcome) in &self.outcomes {
            if let (Ok(position), Some((book, title))) = (outcome, &self.transactions[event].book) {
                assert_eq!(books.get(book), Some(title), "{event} at {position} is lost");
            }
        }
    }

    /// Exactly what was accepted is there, and every position was taken by one of it.
    pub(crate) fn check_exactly(&self, position: u64, books: &HashMap<Uuid, String>) {
        self.check_acknowledged(books);
        assert_eq!(self.outcomes.len(), self.transactions.len(), "all were answered by now");
        assert_eq!(books.len(), self.positions.len(), "each transaction makes one book");
        let taken = usize::try_from(position - self.first_position).unwrap();
        assert_eq!(taken, self.positions.len(), "each transaction takes one position");
    }

    pub(crate) fn take_missing(&mut self) -> Vec<Uuid> {
        std::mem::take(&mut self.missing)
    }

    /// What is to be sent again; every tenth of it will be once more after the next kill.
    pub(crate) fn take_events(&mut self) -> Vec<String> {
        let kept = self.events.iter().step_by(10).cloned().collect();
        std::mem::replace(&mut self.events, kept)
    }

    pub(crate) fn transaction(&self, event: &str) -> &Transaction {
        &self.transactions[event]
    }

    /// How many were accepted, and how many refused.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.positions.len(), self.outcomes.len() - self.positions.len())
    }
}
