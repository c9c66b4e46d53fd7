//! Reading: watching queries, taking their results, telling what they show.

use std::sync::Arc;
use std::time::Duration;

use tricedb_core::attr::Attr;
use tricedb_core::id::{EntityId, EventId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{EvalOptions, Explanation, Plan, Query, QueryError};
use tricedb_core::triple::Triple;
use tricedb_core::tx::AttrChange;
use tricedb_protocol::{AddQuery, ClientMessage, RemoveQuery, ReturnType};

use super::facts::{facts_of, put_fact};
use super::local::{Hold, LocalFacts};
use super::millis::Millis;
use super::mutants;
use super::report::{QueryFailure, ServerError, SyncEvent};
use super::result::{Coverage, QueryResultSnapshot};
use super::subscription::{Due, Extra, OnceId, Subscription};
use super::transact::ANSWER_MAX;
use super::view::{Lender, Reader, View};
use super::{Output, SyncEngine};

/// How long a [`SyncEngine::query_once`] waits.
const ONCE_MAX: Duration = Duration::from_secs(30);

/// Lends a view what the other watched queries know about entities that a pending transaction touches: a
/// to-do that was ticked off shows at once in the list of those done, though that never held it.
struct Neighbours<'a>(&'a LocalFacts);

impl Lender for Neighbours<'_> {
    fn lend(&self, entity: EntityId) -> Vec<Triple> {
        self.0.watched(entity)
    }

    fn index(&self) -> &TripleIndex {
        self.0.view.index()
    }
}

impl SyncEngine {
    /// Begins to watch a query: from now on [`Output::Result`] tells what it shows. What is known already
    /// comes with the next outputs. Watching a query twice counts twice and asks the server once.
    pub fn subscribe(&mut self, now: Millis, query: &Query) {
        if self.is_closing {
            return;
        }
        let was_active = self.touch(now, query).is_active();
        if let Some(subscription) = self.queries.get_mut(&query.canonical()) {
            subscription.watchers += 1;
            subscription.rejoin();
        }
        if !was_active {
            self.activate(now, &query.canonical());
        }
    }

    /// What a watched query shows; `None` if it is not watched or shows nothing yet.
    pub fn shown(&self, query: &str) -> Option<Arc<QueryResultSnapshot>> {
        self.queries.get(query)?.latest.clone()
    }

    /// Why the server refused a watched query in this session, if it did.
    pub fn refusal(&self, query: &str) -> Option<ServerError> {
        self.queries.get(query)?.refusal.clone()
    }

    /// Ends one watching of a query.
    pub fn unsubscribe(&mut self, now: Millis, query: &str) {
        if let Some(subscription) = self.queries.get_mut(query) {
            subscription.watchers = subscription.watchers.saturating_sub(1);
            subscription.used_at = now;
            self.deactivate_if_idle(now, query);
            self.advance(now);
        }
    }

    /// Asks the server for a result once; [`Output::Answer`] brings it.
    ///
    /// # Errors
    /// [`QueryFailure::Offline`] and [`QueryFailure::Closed`].
    pub fn query_once(&mut self, now: Millis, query: &Query) -> Result<OnceId, QueryFailure> {
        if self.is_closing {
            return Err(QueryFailure::Closed);
        }
        if self.link.status().is_offline() {
            return Err(QueryFailure::Offline);
        }
        self.last_once += 1;
        let id = OnceId(self.last_once);
        let was_active = self.touch(now, query).is_active();
        if let Some(subscription) = self.queries.get_mut(&query.canonical()) {
            subscription.waiting.push((id, now.plus(ONCE_MAX)));
            subscription.rejoin();
        }
        let key = query.canonical();
        if !was_active {
            self.activate(now, &key);
        } else if self.queries.get(&key).is_some_and(|watched| watched.refusal.is_some())
            && self.link.authenticated_since().is_some()
        {
            // What was refused before may be served by now.
            self.ask(now, &key);
        }
        Ok(id)
    }

    /// Evaluates a query on everything that the client holds. If the query is watched, its result is
    /// given: that is complete once the server answered.
    ///
    /// # Errors
    /// What [`tricedb_core::query::evaluate`] refuses.
    pub fn query_local(
        &mut self,
        now: Millis,
        query: &Query,
    ) -> Result<Arc<QueryResultSnapshot>, QueryError> {
        self.settle(now);
        let watched = self.queries.get(&query.canonical()).filter(|watched| watched.is_loaded);
        if let Some(latest) = watched.and_then(|watched| watched.latest.as_ref()) {
            return Ok(latest.clone());
        }
        let index = self.local.view.index();
        QueryResultSnapshot::evaluate(index, query, Coverage::Partial, TxId(0), &Extra::default())
            .map(Arc::new)
    }

    /// Says how a query is answered on everything that the client holds, by running it.
    ///
    /// # Errors
    /// What [`tricedb_core::query::evaluate`] refuses.
    pub fn explain(&mut self, now: Millis, query: &Query) -> Result<Explanation, QueryError> {
        self.settle(now);
        let index = self.local.view.index();
        let plan = Plan::new(index, query, &EvalOptions::client())?;
        Ok(Arc::new(plan).explain(index))
    }

    /// The namespaces in which an entity is known locally, sorted.
    pub fn namespaces_of(&mut self, entity: EntityId) -> Vec<Arc<str>> {
        self.settle_views();
        let index = self.local.view.index();
        let Some(row) = index.row(entity) else { return Vec::new() };
        let mut etypes: Vec<Arc<str>> = row
            .cells()
            .filter_map(|(slot, _)| index.catalog().live(index.attr_id(slot)))
            .filter(|attr| attr.is_id())
            .map(|attr| attr.forward_identity.etype.clone())
            .collect();
        etypes.sort_unstable();
        etypes.dedup();
        etypes
    }

    /// The entry of a query, made if there is none.
    fn touch(&mut self, now: Millis, query: &Query) -> &Subscription {
        let key = query.canonical();
        if !self.queries.contains_key(&key) {
            let event = self.next_event();
            self.queries.insert(key.clone(), Subscription::new(query.clone(), event, now));
        }
        let Self { queries, .. } = self;
        let entry = queries
            .entry(key)
            .or_insert_with(|| Subscription::new(query.clone(), EventId::new(""), now));
        entry.used_at = now;
        entry
    }

    fn activate(&mut self, now: Millis, key: &str) {
        let online = self.link.authenticated_since().is_some();
        if let Some(subscription) = self.queries.get_mut(key) {
            if subscription.is_loaded && subscription.view.is_none() {
                let index = self.local.extract(&subscription.held, self.names.blank());
                subscription.view = Some(View::new(index));
            }
            self.local.activate(&subscription.held, Hold::Active);
            subscription.mark(Due::Local);
        }
        self.is_unsettled = true;
        if online {
            self.ask(now, key);
        }
    }

    fn deactivate_if_idle(&mut self, now: Millis, key: &str) {
        if self.queries.get(key).is_none_or(Subscription::is_wanted) {
            return;
        }
        self.settle_layers();
        let lingering = self.queries.values().filter(|query| query.lingers).count();
        let may_linger = lingering < self.settings.kept_queries_max && !self.is_closing;
        let Some(subscription) = self.queries.get_mut(key) else { return };
        let shows_pending = subscription.view.as_ref().is_some_and(View::shows_any);
        if shows_pending && subscription.refusal.is_none() && (subscription.lingers || may_linger) {
            subscription.lingers = true;
            subscription.latest = None;
            return;
        }
        subscription.lingers = false;
        self.may_retire = true;
        let is_asked = subscription.asked.is_some() || subscription.is_fresh;
        let sub = subscription.sub.take_if(|_| self.native.position.is_some());
        subscription.disconnected();
        self.local.activate(&subscription.held, Hold::Kept);
        subscription.view = None;
        subscription.premature = None;
        subscription.latest = None;
        let q = subscription.query.json().clone();
        if subscription.is_loaded {
            self.ledger.query(key.into(), now);
        } else {
            self.queries.remove(key);
        }
        if let Some((position, sub)) = self.native.position.zip(sub) {
            if let Some(kept) = self.queries.get_mut(key) {
                // Its facts are the server's at this position, and from now on may fall behind.
                kept.position = position;
            }
            self.native_unsubscribe(sub);
        } else if is_asked && self.link.authenticated_since().is_some() {
            let client_event_id = Some(self.next_event());
            self.send(&ClientMessage::RemoveQuery(RemoveQuery { q, client_event_id }));
        }
        self.evict(now);
    }

    /// Forgets kept results, the longest unused first, until they are within their bounds.
    fn evict(&mut self, now: Millis) {
        let mut kept: Vec<(Millis, Arc<str>, usize)> = self
            .queries
            .iter()
            .filter(|(_, query)| !query.is_active())
            .map(|(key, query)| (query.used_at, key.clone(), query.held.len()))
            .collect();
        kept.sort_unstable();
        let mut count = kept.len();
        let mut facts: usize = kept.iter().map(|(_, _, held)| held).sum();
        for (_, key, held) in kept {
            let within =
                count <= self.settings.kept_queries_max && facts <= self.settings.kept_facts_max;
            if within {
                return;
            }
            count -= 1;
            facts -= held;
            let Some(gone) = self.queries.remove(&key) else { continue };
            let changed = self.local.release(&gone.held);
            self.ledger.rows(changed, &self.local, now);
            self.ledger.query(key, now);
            self.is_unsettled = true;
        }
    }

    fn ask(&mut self, now: Millis, key: &str) {
        if self.queries.get(key).is_some_and(|query| query.is_too_large) {
            return;
        }
        if self.is_native() {
            return self.native_ask(now, &key.into());
        }
        let Some(subscription) = self.queries.get_mut(key) else { return };
        subscription.asked = Some(now);
        subscription.refusal = None;
        let message = ClientMessage::AddQuery(AddQuery {
            q: subscription.query.json().clone(),
            return_type: ReturnType::JoinRows,
            client_event_id: Some(subscription.event.clone()),
        });
        self.send(&message);
    }

    pub(super) fn active(&self) -> Vec<Arc<str>> {
        let active = self.queries.iter().filter(|(_, query)| query.is_active());
        active.map(|(key, _)| key.clone()).collect()
    }

    /// Asks for every watched query, at the beginning of a session.
    pub(super) fn ask_all(&mut self, now: Millis) {
        for key in self.active() {
            self.ask(now, &key);
        }
    }

    fn ask_anew(&mut self, now: Millis, key: &str) {
        let Some(subscription) = self.queries.get_mut(key) else { return };
        // The answer counts whatever position it claims.
        subscription.is_fresh = false;
        let q = subscription.query.json().clone();
        let client_event_id = Some(self.next_event());
        self.send(&ClientMessage::RemoveQuery(RemoveQuery { q, client_event_id }));
        self.ask(now, key);
    }

    /// Asks for every watched query again: the server lost track of some.
    pub(super) fn ask_again(&mut self, now: Millis) {
        for key in self.active() {
            self.ask_anew(now, &key);
        }
    }

    pub(super) fn queries_disconnected(&mut self) {
        for key in self.active() {
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            subscription.disconnected();
            for (id, _) in std::mem::take(&mut subscription.waiting) {
                let result = Err(QueryFailure::ConnectionLost);
                self.outputs.push_back(Output::Answer { id, result });
            }
            let used_at = subscription.used_at;
            self.deactivate_if_idle(used_at, &key);
        }
        self.is_unsettled = true;
    }

    /// Lets queries that never had a result show what is known locally.
    pub(super) fn unloaded_due(&mut self) {
        for subscription in self.queries.values_mut().filter(|s| s.is_active() && !s.is_loaded) {
            subscription.mark(Due::Local);
        }
    }

    pub(super) fn accept_result(
        &mut self,
        now: Millis,
        key: &str,
        triples: &[Triple],
        position: TxId,
        extra: Extra,
    ) {
        let Some(current) = self.queries.get(key).filter(|s| s.is_active()) else { return };
        #[cfg(feature = "mutants")]
        let triples = mutants::lose_one(triples);
        // Within a session results do not go back; a new session may follow a restored backup.
        if current.is_fresh && position < current.position && !mutants::goes_back() {
            if let Some(current) = self.queries.get_mut(key) {
                current.asked = None;
            }
            return;
        }
        let facts = facts_of(self.names.blank(), triples);
        let newer = |fact: &_| {
            self.queries.iter().any(|(other, query)| {
                **other != *key
                    && query.is_fresh
                    && query.position > position
                    && query.held.contains(fact)
            })
        };
        let changed = self.local.replace(&current.held, &facts, triples, &newer);
        self.notice_conflicts(&super::conflict::entities(&changed), position);
        self.ledger.rows(changed, &self.local, now);
        let Some(subscription) = self.queries.get_mut(key) else { return };
        let is_same =
            subscription.is_loaded && subscription.held == facts && subscription.extra == extra;
        if is_same {
            self.ledger.position(key.into());
        } else {
            self.ledger.query(key.into(), now);
        }
        subscription.accept(facts, triples, position, extra);
        self.told_at = now;
        self.answer_max = ANSWER_MAX;
        let catalog = self.names.blank().catalog();
        let is_premature = triples.iter().any(|triple| catalog.get(triple.attr).is_none());
        subscription.premature = is_premature.then(|| triples.to_vec());
        if subscription.view.is_none() {
            let mut index = self.names.blank().clone();
            for triple in triples {
                put_fact(&mut index, triple);
            }
            subscription.view = Some(View::new(index));
        }
        self.is_unsettled = true;
        self.may_retire = true;
    }

    /// Takes results again that spoke of attributes which are known only now: a server may tell these
    /// apart from the result, and later.
    pub(super) fn accept_premature(&mut self, now: Millis) {
        for key in self.active() {
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            if let Some(triples) = subscription.premature.take() {
                let (position, extra) = (subscription.position, subscription.extra.clone());
                self.accept_result(now, &key, &triples, position, extra);
            }
        }
    }

    pub(super) fn query_exists(&mut self, _now: Millis, key: &str) {
        if let Some(subscription) = self.queries.get_mut(key).filter(|s| s.is_loaded) {
            subscription.asked = None;
            subscription.is_fresh = true;
            subscription.mark(Due::Local);
        }
    }

    pub(super) fn query_refused(
        &mut self,
        now: Millis,
        query: Option<&str>,
        event: Option<&EventId>,
        error: ServerError,
    ) {
        let by_query = query.filter(|query| self.queries.contains_key(*query)).map(Arc::from);
        let by_event = || {
            let named = self.queries.iter().find(|(_, s)| Some(&s.event) == event);
            named.map(|(key, _)| key.clone())
        };
        let Some(key): Option<Arc<str>> = by_query.or_else(by_event) else { return };
        let Some(subscription) = self.queries.get_mut(&key).filter(|s| s.is_active()) else {
            return;
        };
        subscription.asked = None;
        subscription.is_fresh = false;
        subscription.refusal = Some(error.clone());
        self.may_retire = true;
        for (id, _) in std::mem::take(&mut subscription.waiting) {
            let result = Err(QueryFailure::Refused(error.clone()));
            self.outputs.push_back(Output::Answer { id, result });
        }
        let result = Err(QueryFailure::Refused(error.clone()));
        self.outputs.push_back(Output::Result { query: key.clone(), result });
        self.event(SyncEvent::QueryRefused { query: key.clone(), error });
        self.deactivate_if_idle(now, &key);
    }

    /// Gives every view the server's new attributes.
    pub(super) fn replace_attrs(&mut self, removed: bool) {
        let views = self.queries.values_mut().filter_map(|query| query.view.as_mut());
        for view in views.chain([&mut self.local.view]) {
            if removed {
                let base = view.base();
                let mut index = self.names.blank().clone();
                for triple in base.triples() {
                    put_fact(&mut index, &triple);
                }
                *base = index;
                continue;
            }
            self.names.server().iter().for_each(|attr| view.put_attr(attr));
        }
        for query in self.queries.values_mut() {
            query.reads = None;
            query.mark(Due::Local);
        }
        self.is_unsettled = true;
    }

    /// Brings the view of everything up to date with the queue.
    pub(super) fn settle_views(&mut self) {
        if self.is_unsettled {
            self.local.view.align(&self.outbox, None, Reader::default(), &mut *self.ids);
        }
    }

    /// Whether results may have changed since they were last told.
    pub fn results_due(&self) -> bool {
        self.is_unsettled
            || self.may_retire
            || self
                .queries
                .values()
                .any(|query| query.is_wanted() && query.due != Due::No || query.can_answer())
    }

    /// Lays exactly the pending transactions over every view that it does not contain for sure.
    pub(super) fn settle_layers(&mut self) {
        if self.is_unsettled {
            self.settle_views();
            self.settle_results();
            self.outbox.forget_changes();
            self.is_unsettled = false;
        }
    }

    /// Brings results up to date with everything that happened and tells those that changed.
    pub(super) fn settle(&mut self, now: Millis) {
        self.settle_layers();
        if self.may_retire {
            self.retire(now);
            self.settle_layers();
        }
        let due: Vec<Arc<str>> = self
            .queries
            .iter()
            .filter(|(_, query)| query.is_wanted() && query.due != Due::No)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.show(&key);
        }
        self.answer_once(now);
        let is_over = |query: &Subscription| {
            query.lingers && !query.view.as_ref().is_some_and(View::shows_any)
        };
        let over = self.queries.iter().filter(|(_, query)| is_over(query));
        for key in over.map(|(key, _)| key.clone()).collect::<Vec<Arc<str>>>() {
            self.deactivate_if_idle(now, &key);
        }
    }

    fn settle_results(&mut self) {
        for key in self.active() {
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            let Some(mut view) = subscription.view.take() else {
                subscription.mark(Due::Local);
                continue;
            };
            let reads = match subscription.reads.take() {
                Some(reads) => reads,
                None => subscription.query.reads(view.index().catalog()),
            };
            let position = subscription.position;
            let reader = Reader { reads: Some(&reads), lender: Some(&Neighbours(&self.local)) };
            let felt = view.align(&self.outbox, Some(position), reader, &mut *self.ids);
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            subscription.view = Some(view);
            if felt {
                // Attributes may have come with it.
                subscription.mark(Due::Local);
            } else {
                subscription.reads = Some(reads);
            }
        }
    }

    /// Evaluates a watched query and tells what it shows, if that changed.
    fn show(&mut self, key: &Arc<str>) {
        let offline = self.link.status().is_offline();
        let Some(subscription) = self.queries.get_mut(key) else { return };
        let due = std::mem::replace(&mut subscription.due, Due::No);
        let (index, coverage) = match &subscription.view {
            Some(view) => (view.index(), Coverage::Complete),
            None => (self.local.view.index(), Coverage::Partial),
        };
        let (query, position) = (&subscription.query, subscription.position);
        let shown =
            QueryResultSnapshot::evaluate(index, query, coverage, position, &subscription.extra);
        let result = match shown {
            Ok(shown) => {
                tracing::trace!(target: "tricedb::query", %query, %position, ?coverage, "evaluated");
                // While the server is about to answer, nothing is better than an empty guess; but what was
                // shown and is taken back must go.
                let is_first = subscription.latest.is_none();
                if coverage == Coverage::Partial && !offline && is_first && shown.is_empty() {
                    return;
                }
                if subscription.latest.as_ref().is_some_and(|l| l.shows_the_same(&shown)) {
                    return;
                }
                let shown = Arc::new(shown);
                subscription.latest = Some(shown.clone());
                Ok(shown)
            }
            Err(error) => Err(QueryFailure::Invalid(error)),
        };
        if subscription.watchers > 0 {
            self.outputs.push_back(Output::Result { query: key.clone(), result });
            if due == Due::Remote {
                self.event(SyncEvent::RemoteChange { query: key.clone(), position });
            }
        }
    }

    /// Answers those who asked once and whose query has an answer of this session.
    fn answer_once(&mut self, now: Millis) {
        let ready: Vec<Arc<str>> = self
            .queries
            .iter()
            .filter(|(_, query)| query.can_answer())
            .map(|(key, _)| key.clone())
            .collect();
        for key in ready {
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            let Some(latest) = subscription.latest.clone() else { continue };
            for (id, _) in std::mem::take(&mut subscription.waiting) {
                self.outputs.push_back(Output::Answer { id, result: Ok(latest.clone()) });
            }
            self.deactivate_if_idle(now, &key);
        }
    }

    /// Ends the waiting of those who asked once and got no answer in time.
    pub(super) fn expire_once(&mut self, now: Millis) {
        let waits = |query: &Subscription| query.waiting.iter().any(|(_, until)| now >= *until);
        let late: Vec<Arc<str>> = self
            .queries
            .iter()
            .filter(|(_, query)| waits(query))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            let Some(subscription) = self.queries.get_mut(&key) else { continue };
            let (late, waiting): (Vec<_>, Vec<_>) =
                subscription.waiting.drain(..).partition(|(_, until)| now >= *until);
            subscription.waiting = waiting;
            for (id, _) in late {
                let result = Err(QueryFailure::TimedOut { after: ONCE_MAX });
                self.outputs.push_back(Output::Answer { id, result });
            }
            self.deactivate_if_idle(now, &key);
        }
    }

    pub(super) fn queries_overdue(&self, now: Millis) -> bool {
        let late = |query: &Subscription| {
            query.asked.is_some_and(|t| {
                now >= t.max(self.told_at).max(self.answered_at).plus(self.answer_max)
            })
        };
        self.queries.values().any(late)
    }

    pub(super) fn queries_deadline(&self) -> Option<Millis> {
        let asked = self
            .queries
            .values()
            .filter_map(|q| q.asked)
            .map(|t| t.max(self.told_at).max(self.answered_at).plus(self.answer_max));
        let once = self.queries.values().flat_map(|q| q.waiting.iter().map(|(_, until)| *until));
        asked.chain(once).min()
    }
}

/// Whether two definitions differ in no more than the types seen in values.
pub(super) fn is_alike(one: &Arc<Attr>, other: &Arc<Attr>) -> bool {
    let change = AttrChange { old: Some(one.clone()), new: Some(other.clone()) };
    !change.is_material()
}
