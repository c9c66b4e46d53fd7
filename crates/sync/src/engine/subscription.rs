//! Queries that are watched, and those whose results are kept.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::id::{EventId, TxId};
use tricedb_core::port::{HeldFact, SubscriptionRow};
use tricedb_core::query::{Query, ReadSet};
use tricedb_core::triple::Triple;
use tricedb_protocol::native::SubId;

use super::facts::FactSet;
use super::millis::Millis;
use super::report::ServerError;
use super::result::QueryResultSnapshot;
use super::view::View;

/// A `query_once` that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OnceId(pub u64);

/// One query and its result, watched or kept.
///
/// While it is watched it has an index of its own, with the facts of the server's last result and the
/// pending transactions which that does not contain over them: so each result shows the server's state at
/// one position, whatever other queries have learnt since. Facts without a watcher live only in
/// [`super::local::LocalFacts`].
///
/// Survives a reconnect: all but `asked`, `is_fresh` and `refusal`. Survives a restart: what
/// [`SubscriptionRow`] holds.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) query: Query,
    /// Streams that watch it.
    pub(crate) watchers: u32,
    pub(crate) waiting: Vec<(OnceId, Millis)>,
    /// Nobody wants its result any more, but it shows pending transactions: it is kept up to date until the
    /// server's data contains them, lest they be missing when it is watched again.
    pub(crate) lingers: bool,
    /// The name of its `add-query`.
    pub(crate) event: EventId,
    pub(crate) used_at: Millis,

    /// The facts of the last result.
    pub(crate) held: FactSet,
    /// The position that these reflect; zero without a result.
    pub(crate) position: TxId,
    /// What else came with it.
    pub(crate) extra: Extra,
    /// The last result, if it spoke of attributes that the server had not named yet.
    pub(crate) premature: Option<Vec<Triple>>,
    /// Whether the server ever gave a result.
    pub(crate) is_loaded: bool,

    /// Its number in the present native session.
    pub(crate) sub: Option<SubId>,
    /// Since when the server's first answer in this session is awaited.
    pub(crate) asked: Option<Millis>,
    /// Whether the server answered in this session.
    pub(crate) is_fresh: bool,
    /// The server takes no message as large as this query: it is not asked again.
    pub(crate) is_too_large: bool,
    /// Why the server refused it in this session.
    pub(crate) refusal: Option<ServerError>,

    /// Present while watched, once loaded.
    pub(crate) view: Option<View>,
    /// What the result depends on, by today's attributes.
    pub(crate) reads: Option<ReadSet>,
    pub(crate) due: Due,
    /// What was told last.
    pub(crate) latest: Option<Arc<QueryResultSnapshot>>,
}

/// What comes with a result besides triples.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Extra {
    /// In the server's spelling.
    pub(crate) page_info: Option<Json>,
    /// Counts by namespace.
    pub(crate) aggregate: Option<Json>,
}

impl Extra {
    fn from_json(mut json: Json) -> Self {
        let mut take = |key| json.get_mut(key).map(Json::take).filter(|json| !json.is_null());
        Self { page_info: take("page-info"), aggregate: take("aggregate") }
    }

    fn to_json(&self) -> Option<Json> {
        let is_empty = self.page_info.is_none() && self.aggregate.is_none();
        (!is_empty).then(|| json!({"page-info": self.page_info, "aggregate": self.aggregate}))
    }
}

/// Why a result is to be evaluated again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Due {
    /// It is not.
    No,
    /// Pending transactions or other local facts changed.
    Local,
    /// The server said something new.
    Remote,
}

impl Subscription {
    pub(crate) fn new(query: Query, event: EventId, now: Millis) -> Self {
        Self {
            query,
            watchers: 0,
            waiting: Vec::new(),
            lingers: false,
            event,
            used_at: now,
            held: FactSet::default(),
            position: TxId(0),
            extra: Extra::default(),
            premature: None,
            is_loaded: false,
            sub: None,
            asked: None,
            is_fresh: false,
            is_too_large: false,
            refusal: None,
            view: None,
            reads: None,
            due: Due::Local,
            latest: None,
        }
    }

    /// A kept result as it was stored.
    pub(crate) fn restore(row: &SubscriptionRow, query: Query, event: EventId) -> Self {
        let mut restored = Self::new(query, event, Millis(row.used_at));
        restored.held = row.held.iter().copied().collect();
        restored.position = row.position;
        let extra = row.extra.as_deref().and_then(|text| serde_json::from_str::<Json>(text).ok());
        restored.extra = extra.map(Extra::from_json).unwrap_or_default();
        restored.is_loaded = true;
        restored
    }

    pub(crate) fn row(&self) -> SubscriptionRow {
        SubscriptionRow {
            query: self.query.canonical(),
            position: self.position,
            used_at: self.used_at.0,
            held: self.held.iter().copied().collect(),
            extra: self.extra.to_json().map(|json| json.to_string()),
        }
    }

    /// Whether anybody wants its result.
    pub(crate) fn is_wanted(&self) -> bool {
        self.watchers > 0 || !self.waiting.is_empty()
    }

    /// Whether there is somebody who asked once, and an answer of this session for them.
    pub(crate) fn can_answer(&self) -> bool {
        self.is_fresh && self.latest.is_some() && !self.waiting.is_empty()
    }

    /// Whether it is to be kept up to date.
    pub(crate) fn is_active(&self) -> bool {
        self.is_wanted() || self.lingers
    }

    /// Whether a transaction that the server committed must still be laid over: the result shows it, and
    /// the server's data does not contain it.
    pub(crate) fn awaits(&self, tx: TxId, seq: u64) -> bool {
        let is_refused = self.refusal.is_some() || self.is_too_large;
        if !self.is_active() || is_refused || self.position >= tx {
            return false;
        }
        self.view.as_ref().is_none_or(|view| view.shows(seq))
    }

    /// Somebody wants its result again.
    pub(crate) fn rejoin(&mut self) {
        if std::mem::take(&mut self.lingers) {
            self.mark(Due::Local);
        }
    }

    pub(crate) fn mark(&mut self, due: Due) {
        self.due = self.due.max(due);
    }

    /// Takes the server's result in the place of the last one.
    pub(crate) fn accept(
        &mut self,
        facts: FactSet,
        triples: &[Triple],
        position: TxId,
        extra: Extra,
    ) {
        if let Some(view) = &mut self.view {
            let gone: Vec<HeldFact> = self.held.difference(&facts).copied().collect();
            view.change(triples, &gone);
        }
        self.held = facts;
        self.extra = extra;
        self.position = position;
        self.is_loaded = true;
        self.is_fresh = true;
        self.asked = None;
        self.refusal = None;
        self.mark(Due::Remote);
    }

    /// What a lost connection ends.
    pub(crate) fn disconnected(&mut self) {
        self.asked = None;
        self.is_fresh = false;
        self.refusal = None;
        self.mark(Due::Local);
    }
}
