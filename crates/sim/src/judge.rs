//! The judge: hears of everything that the parts tell each other, and of what programs would see, and
//! knows what was promised.

mod quiet;
mod rooms;
mod transactions;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use tricedb_core::id::TxId;
use tricedb_core::query::Query;
use tricedb_core::tx::Operation;
use tricedb_server::log::{EventKey, LoadedLog, LogEntry};
use uuid::Uuid;

use crate::coverage::Coverage;
use crate::history::History;
use crate::model::Model;
use crate::violation::{Violation, hold};
pub(crate) use rooms::RoomsJudge;
use transactions::TxRef;
use transactions::{Transaction, plain_key};
use views::ClientView;

/// What an administrator's commit does to the model.
#[derive(Clone, Debug)]
pub(crate) enum AdminEffect {
    Operations(Vec<Operation>),
    DropAttr(String, String),
}

/// What is known of promises kept so far.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) history: History,
    model: Model,
    transactions: Vec<Transaction>,
    /// By the name under which it travels.
    wire: BTreeMap<EventKey, TxRef>,
    rejected: BTreeSet<EventKey>,
    /// What each client's numbers mean at present.
    numbers: Vec<BTreeMap<u64, TxRef>>,
    /// Who wrote a title.
    titles: BTreeMap<u32, Author>,
    committed_at: BTreeMap<TxId, TxRef>,
    /// Commits of the administrator, durable or not.
    pub(crate) admin: BTreeMap<TxId, AdminEffect>,
    views: Vec<ClientView>,
    pub(crate) rooms: RoomsJudge,
    pub(crate) coverage: Coverage,
}

/// Who wrote a title, and where it was committed.
#[derive(Clone, Copy, Debug)]
struct Author {
    transaction: Option<TxRef>,
    committed: Option<TxId>,
}

impl Judge {
    pub(crate) fn new(queries: Vec<Query>, clients: usize) -> Self {
        let beginning = Author { transaction: None, committed: Some(TxId(0)) };
        Self {
            history: History::new(queries),
            model: Model::default(),
            transactions: Vec::new(),
            wire: BTreeMap::new(),
            rejected: BTreeSet::new(),
            numbers: vec![BTreeMap::new(); clients],
            titles: BTreeMap::from([(0, beginning)]),
            committed_at: BTreeMap::new(),
            admin: BTreeMap::new(),
            views: (0..clients).map(|_| ClientView::default()).collect(),
            rooms: RoomsJudge::new(clients),
            coverage: Coverage::default(),
        }
    }

    /// The administrator writes a title.
    pub(crate) fn admin_title(&mut self, tag: u32) {
        self.titles.insert(tag, Author { transaction: None, committed: None });
    }

    /// Entries that are in the server's log from now on.
    pub(crate) fn durable(&mut self, entries: &[LogEntry]) -> Result<(), Violation> {
        for entry in entries {
            match entry {
                LogEntry::Rejected { event, .. } => {
                    self.coverage.rejections += 1;
                    hold!(
                        self.rejected.insert(event.clone()),
                        Once,
                        "{event:?} was rejected twice"
                    );
                }
                LogEntry::Committed { position, event, commit, .. } => {
                    let made = |label: &str, value: &serde_json::Value| -> Option<Uuid> {
                        commit.facts().find_map(|fact| {
                            let attr = self.history.index().catalog().get(fact.attr);
                            let is_it = attr.is_some_and(|attr| attr.label() == label)
                                && fact.new.as_ref().is_some_and(|new| new.0.to_json() == *value);
                            is_it.then(|| fact.entity.uuid())
                        })
                    };
                    let effect = match event {
                        Some(event) => {
                            let found = self.wire.get(event).copied();
                            hold!(found.is_some(), Once, "{event:?} was committed and never sent");
                            let Some(tx) = found else { continue };
                            hold!(
                                !self.rejected.contains(event),
                                Once,
                                "{event:?} was rejected and then committed at {position}"
                            );
                            let before = self.transactions[tx.0].committed;
                            hold!(
                                before.is_none(),
                                Once,
                                "{} was committed at {before:?} and again at {position}",
                                self.transactions[tx.0]
                            );
                            hold!(
                                !self.transactions[tx.0].was_rejected,
                                Once,
                                "{} was told to be rejected and committed at {position}",
                                self.transactions[tx.0]
                            );
                            self.coverage.commits += 1;
                            Some((Some(tx), self.transactions[tx.0].operations.clone()))
                        }
                        None => match self.admin.get(position).cloned() {
                            Some(AdminEffect::Operations(operations)) => Some((None, operations)),
                            Some(AdminEffect::DropAttr(etype, label)) => {
                                self.model.drop_attr(&etype, &label);
                                None
                            }
                            None => None,
                        },
                    };
                    if let Some((tx, operations)) = effect {
                        let who = || match tx {
                            Some(tx) => self.transactions[tx.0].to_string(),
                            None => "the administrator's".to_owned(),
                        };
                        let applied = self.model.apply(&operations, &made);
                        hold!(
                            applied.is_ok(),
                            Conflicts,
                            "{} was committed at {position}: {}",
                            who(),
                            applied.err().unwrap_or_default()
                        );
                        self.commit_at(*position, tx, &operations);
                    }
                    self.history.push(*position, commit);
                }
            }
        }
        self.compare_model("after a batch")
    }

    fn commit_at(&mut self, position: TxId, tx: Option<TxRef>, operations: &[Operation]) {
        if let Some(tx) = tx {
            self.transactions[tx.0].committed = Some(position);
            self.committed_at.insert(position, tx);
        }
        for tag in transactions::titles_of(operations) {
            if let Some(author) = self.titles.get_mut(&tag) {
                author.committed = Some(position);
            }
        }
    }

    fn compare_model(&self, when: &str) -> Result<(), Violation> {
        let difference = self.model.difference(self.history.index());
        hold!(
            difference.is_none(),
            Conflicts,
            "{when}, at {}: {}",
            self.history.position(),
            difference.unwrap_or_default()
        );
        Ok(())
    }

    /// The server started again from its log.
    pub(crate) fn server_loaded(&self, loaded: &LoadedLog) -> Result<(), Violation> {
        hold!(
            loaded.position == self.history.position(),
            Durable,
            "the server came back at {}, its log was at {}",
            loaded.position,
            self.history.position()
        );
        let difference = self.model.difference(&loaded.index);
        hold!(
            difference.is_none(),
            Durable,
            "the server came back with something else: {}",
            difference.unwrap_or_default()
        );
        Ok(())
    }

    /// A frame leaves the server. `base` is where it began before it had a log.
    pub(crate) fn leaves_server(&mut self, text: &str, base: TxId) -> Result<(), Violation> {
        self.coverage.resumes += u64::from(text.contains("\"resumed\":true"));
        let durable = self.history.position().max(base);
        for name in ["\"tx-id\":", "\"processed-tx-id\":", "\"to\":", "\"tx\":"] {
            let mut rest = text;
            while let Some(at) = rest.find(name) {
                rest = &rest[at + name.len()..];
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let Ok(position) = rest[..end].parse::<u64>() else { continue };
                hold!(
                    position <= durable.0,
                    Durable,
                    "the server spoke of {name}{position} when its log was at {durable}"
                );
            }
        }
        Ok(())
    }
}
