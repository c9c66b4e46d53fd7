//! Native sessions: TriceDB's own clients, which are told what changed rather than results anew.
//!
//! A session holds the facts of its queries at one position. Each distinct query is a **source**: its facts
//! now, and the latest changes of them, encoded once for all who hold it. With every refresh a session is
//! sent one frame from its position to the app's, with the changes of its sources in between and the
//! outcomes of its own transactions; how little or much that is depends on when it was told last. The
//! server keeps no facts per session.

mod facts;
mod opening;
mod parked;
mod propose;
mod reader;
mod source;
mod sources;
mod tail;
mod telling;
mod transact;
mod whole;

use tricedb_core::id::TxId;
use tricedb_protocol::{ClientMessage, ErrorBody, ErrorMessage};

use super::frames;
use super::held::Remedy;
use super::sessions::SessionKey;
use super::state::AppState;
use parked::Parked;
pub(super) use reader::NativeReader;
use sources::Sources;
use tail::Tail;
use telling::OwedSessions;
pub use whole::{EncodeJob, Encoded};

/// What an app keeps for its native sessions.
#[derive(Debug, Default)]
pub(super) struct Native {
    pub(super) sources: Sources,
    pub(super) tail: Tail,
    parked: Parked,
    /// Sessions to be told something at the next refresh.
    pub(super) owed: OwedSessions,
    /// Large results to be encoded elsewhere.
    pub(super) jobs: Vec<EncodeJob>,
    /// The version of the attribute list that all sessions were told of.
    attrs_told: u64,
    /// Where all sessions were last told where they stand.
    told_all: TxId,
}

impl AppState {
    /// Takes a message that only native sessions send.
    pub(super) fn native_message(&mut self, session: SessionKey, message: ClientMessage, now: i64) {
        if self.native_of(session).is_none() {
            let body = ErrorBody::invalid_op(message.op());
            let error =
                ErrorMessage::answering(body, message.op(), message.client_event_id(), None);
            return self.send(session, frames::error(&error), Remedy::Keep);
        }
        match message {
            ClientMessage::Subscribe(subscribe) => self.subscribe_native(session, subscribe),
            ClientMessage::Unsubscribe(unsubscribe) => {
                self.unsubscribe_native(session, &unsubscribe);
            }
            ClientMessage::Transact(transact) => {
                let seq = transact.seq.unwrap_or_default();
                self.transact_native(session, seq, transact, now);
            }
            _ => {}
        }
    }
}
