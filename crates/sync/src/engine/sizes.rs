//! Messages that are larger than the server takes.
//!
//! A server that is sent one ends the connection and does not say which it was. But what it answered it
//! took, and if it took one of some length it takes all that are shorter: the largest message without an
//! answer is one of those that it will never take. That one is refused here, and the others go on.

use std::sync::Arc;

use serde_json::json;
use tricedb_protocol::ClientMessage;

use super::SyncEngine;
use super::millis::Millis;
use super::report::ServerError;

/// The lengths of the messages sent over the present connection.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    /// Of the largest that is neither a transaction nor a query.
    other: usize,
}

/// What a message was about.
enum Offender {
    Transaction(u64),
    Query(Arc<str>),
}

impl Sizes {
    pub(crate) const fn forget(&mut self) {
        self.other = 0;
    }
}

impl SyncEngine {
    /// Notes how long a message is.
    pub(super) fn note_size(&mut self, message: &ClientMessage, len: usize) {
        match message {
            ClientMessage::Transact(transact) => {
                if let Some(seq) = transact.order {
                    self.outbox.edit(seq, |pending| pending.sent_len = len);
                }
            }
            ClientMessage::AddQuery(_) | ClientMessage::Subscribe(_) => {}
            _ => self.sizes.other = self.sizes.other.max(len),
        }
    }

    /// The server will not take one of the messages that it did not answer.
    pub(super) fn too_large(&mut self, now: Millis, reason: String) {
        let other = self.sizes.other;
        let transactions = self.outbox.sent().into_iter().filter_map(|seq| {
            let pending = self.outbox.get(seq)?;
            Some((pending.sent_len, Offender::Transaction(seq)))
        });
        let asked = self.queries.iter().filter(|(_, query)| query.asked.is_some());
        let queries = asked.map(|(key, query)| {
            (query.query.json().to_string().len(), Offender::Query(key.clone()))
        });
        let largest = transactions.chain(queries).max_by_key(|(len, _)| *len);
        self.disconnected(now, reason, false);
        match largest.filter(|(len, _)| *len >= other) {
            Some((len, Offender::Transaction(seq))) => {
                if let Some(pending) = self.outbox.remove(seq) {
                    self.refuse_pending(pending, too_large("transaction", len), now);
                }
            }
            Some((len, Offender::Query(key))) => {
                if let Some(query) = self.queries.get_mut(&key) {
                    query.is_too_large = true;
                }
                self.query_refused(now, Some(&key), None, too_large("query", len));
            }
            None => {
                tracing::warn!(target: "tricedb::sync", "the server does not take what opens a session");
            }
        }
    }
}

fn too_large(what: &str, len: usize) -> ServerError {
    ServerError {
        kind: "message-too-large".to_owned(),
        message: format!(
            "The server takes no message as large as this {what}'s ({len} bytes); split it."
        ),
        hint: json!({"bytes": len}),
    }
}
