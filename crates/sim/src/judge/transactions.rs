//! What becomes of each transaction.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value as Json;
use tricedb_core::id::TxId;
use tricedb_core::tx::{Action, EntityKey, Operation};
use tricedb_server::log::EventKey;
use tricedb_sync::{PendingState, PendingTransaction};
use uuid::Uuid;

use super::{Author, Judge};
use crate::violation::{Violation, hold};

/// One transaction of one client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TxRef(pub(super) usize);

/// What its program was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Open,
    Synced(TxId),
    Rejected,
    Cancelled,
    /// Its client crashed before it was told to be durable.
    Lost,
}

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) client: usize,
    pub(super) name: String,
    pub(super) seq: u64,
    pub(super) operations: Vec<Operation>,
    /// Its program was told that it is on the disk.
    pub(super) is_local: bool,
    pub(super) fate: Fate,
    /// Its program was told that the server rejected it, whatever it forgot since.
    pub(super) was_rejected: bool,
    /// Where it is in the server's log.
    pub(super) committed: Option<TxId>,
    /// The to-do whose title it writes and what it writes, if that is sure to show.
    pub(super) sure: Option<(Uuid, u32)>,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles: Vec<u32> = titles_of(&self.operations).collect();
        write!(f, "transaction {} of client {} (titles {titles:?})", self.seq, self.client)
    }
}

/// The numbers of the titles that operations write.
pub(super) fn titles_of(operations: &[Operation]) -> impl Iterator<Item = u32> + '_ {
    operations.iter().filter_map(|operation| match &operation.action {
        Action::Create(fields) | Action::Update(fields, _) => tag_of(fields.get("title")?),
        _ => None,
    })
}

/// The number of a title.
pub(super) fn tag_of(title: &Json) -> Option<u32> {
    title.as_str()?.strip_prefix('w')?.parse().ok()
}

/// Whether operations write or remove the title of a to-do, or perhaps do.
pub(super) fn changes_title(operations: &[Operation], todo: Uuid) -> bool {
    operations.iter().any(|operation| {
        let is_it = match &operation.key {
            EntityKey::Id(id) => id.uuid() == todo,
            _ => true,
        };
        is_it
            && match &operation.action {
                Action::Create(fields) | Action::Update(fields, _) => fields.contains_key("title"),
                Action::Delete => true,
                _ => false,
            }
    })
}

impl Judge {
    /// A client queued a transaction.
    pub(crate) fn queued(
        &mut self,
        client: usize,
        (seq, name): (u64, &str),
        operations: Vec<Operation>,
        sure: Option<(Uuid, u32)>,
    ) {
        let tx = TxRef(self.transactions.len());
        for tag in titles_of(&operations) {
            self.titles.insert(tag, Author { transaction: Some(tx), committed: None });
        }
        self.wire.insert(plain_key(name), tx);
        self.numbers[client].insert(seq, tx);
        self.transactions.push(Transaction {
            client,
            name: name.to_owned(),
            seq,
            operations,
            is_local: false,
            fate: Fate::Open,
            was_rejected: false,
            committed: None,
            sure,
        });
    }

    /// The server receives a transaction under some name; a client may rename what was refused because of
    /// a race.
    pub(crate) fn received(&mut self, client: usize, seq: Option<u64>, key: EventKey, event: &str) {
        let by_event = self.wire.get(&plain_key(event)).copied();
        let by_number = seq.and_then(|seq| self.numbers[client].get(&seq).copied());
        if let Some(tx) = self.wire.get(&key).copied() {
            if self.rejected.contains(&key) {
                self.coverage.rejections_resent += 1;
            } else if self.transactions[tx.0].committed.is_some() {
                self.coverage.commits_resent += 1;
            }
        } else if let Some(tx) = by_event.or(by_number) {
            self.wire.insert(key, tx);
        }
    }

    /// A client's program is told that a transaction is on the disk.
    pub(crate) fn stored(&mut self, client: usize, seq: u64) {
        if let Some(tx) = self.numbers[client].get(&seq) {
            self.transactions[tx.0].is_local = true;
        }
    }

    /// A client's program is told what became of a transaction. `None` is a cancelled one.
    pub(crate) fn settled(
        &mut self,
        client: usize,
        seq: u64,
        outcome: Result<TxId, Option<&str>>,
    ) -> Result<(), Violation> {
        let known = self.numbers[client].get(&seq).copied();
        hold!(known.is_some(), Sanity, "client {client} settled {seq}, which it never queued");
        let Some(tx) = known else { return Ok(()) };
        let at = outcome.ok().and_then(|position| self.committed_at.get(&position).copied());
        let transaction = &mut self.transactions[tx.0];
        hold!(
            !matches!(transaction.fate, Fate::Rejected | Fate::Cancelled),
            Once,
            "{transaction} was settled twice: {:?}, then {outcome:?}",
            transaction.fate
        );
        match outcome {
            Ok(position) => {
                hold!(
                    at == Some(tx) && transaction.committed == Some(position),
                    Once,
                    "{transaction} was told to be committed at {position}; in the log it is at {:?}",
                    transaction.committed
                );
                transaction.fate = Fate::Synced(position);
                if let Some((todo, _)) = transaction.sure {
                    self.views[client].raise(todo, position);
                }
            }
            Err(reason) => {
                hold!(
                    transaction.committed.is_none(),
                    Once,
                    "{transaction} was told to be rejected ({reason:?}); it is committed at {:?}",
                    transaction.committed
                );
                self.coverage.rollbacks += u64::from(reason.is_some());
                transaction.was_rejected |= reason.is_some();
                transaction.fate = if reason.is_some() { Fate::Rejected } else { Fate::Cancelled };
            }
        }
        Ok(())
    }

    /// A client's process died.
    pub(crate) fn client_crashed(&mut self, client: usize) {
        self.views[client].forget();
        for transaction in self.transactions.iter_mut().filter(|t| t.client == client) {
            if transaction.fate == Fate::Open && !transaction.is_local {
                transaction.fate = Fate::Lost;
            }
        }
    }

    /// A client started again, with these transactions in its queue.
    pub(crate) fn client_restarted(
        &mut self,
        client: usize,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        let mut waits = false;
        let mut found: BTreeSet<TxRef> = BTreeSet::new();
        for one in pending {
            let name = one.id.as_str();
            // One that lost a race for an attribute has another name, which the server may not know yet.
            let known = self.of_name(client, name).or_else(|| self.open_like(client, one, &found));
            let Some(tx) = known else {
                hold!(false, Sanity, "client {client} found {name} in its queue");
                continue;
            };
            found.insert(tx);
            let transaction = &mut self.transactions[tx.0];
            waits |= one.state != PendingState::Rejected;
            if matches!(one.state, PendingState::Queued | PendingState::Sent) {
                // Lost: it was on the disk after all; nobody had been told. Settled: that was not on the
                // disk yet; its program is told again.
                transaction.fate = Fate::Open;
            }
            transaction.is_local = true;
            hold!(
                one.operations == transaction.operations,
                Durable,
                "{transaction} came back as something else"
            );
            self.numbers[client].insert(transaction.seq, tx);
        }
        self.coverage.restored_queues += u64::from(waits);
        let missing = self.transactions.iter().zip(0..).find(|(transaction, at)| {
            transaction.client == client
                && transaction.fate == Fate::Open
                && !found.contains(&TxRef(*at))
        });
        if let Some((transaction, _)) = missing {
            hold!(false, Durable, "{transaction} was told to be on the disk and is gone");
        }
        Ok(())
    }

    /// An open transaction that does the same as a queued one, and was not found in the queue yet.
    fn open_like(
        &self,
        client: usize,
        queued: &PendingTransaction,
        found: &BTreeSet<TxRef>,
    ) -> Option<TxRef> {
        let mut all = self.transactions.iter().zip(0..);
        let same = all.find(|(transaction, at)| {
            transaction.client == client
                && transaction.fate == Fate::Open
                && transaction.operations == queued.operations
                && !found.contains(&TxRef(*at))
        });
        same.map(|(_, at)| TxRef(at))
    }

    /// By the name that the program knows, or one that follows from it.
    fn of_name(&self, client: usize, name: &str) -> Option<TxRef> {
        self.wire
            .get(&plain_key(name))
            .copied()
            .filter(|tx| self.transactions[tx.0].client == client)
    }

    /// At quiet, nothing is open.
    pub(super) fn all_settled(&self, client: usize) -> Result<(), Violation> {
        for transaction in self.transactions.iter().filter(|t| t.client == client) {
            match transaction.fate {
                Fate::Open => {
                    hold!(false, Liveness, "{transaction} is still open");
                }
                Fate::Synced(position) => {
                    hold!(
                        transaction.committed == Some(position),
                        Once,
                        "{transaction} was told to be at {position} and is at {:?}",
                        transaction.committed
                    );
                }
                Fate::Rejected | Fate::Cancelled => {
                    hold!(
                        transaction.committed.is_none(),
                        Once,
                        "{transaction} is {:?} and committed",
                        transaction.fate
                    );
                }
                // It may have been sent before the crash.
                Fate::Lost => {}
            }
        }
        Ok(())
    }
}

pub(super) fn plain_key(name: &str) -> EventKey {
    EventKey { user: None, event: tricedb_core::id::EventId::new(name) }
}
