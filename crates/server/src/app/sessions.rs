//! The sessions of an app, and what their messages do.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use serde_json::Value as Json;
use tricedb_core::id::{EventId, SessionId, TxId};
use tricedb_core::query::{self, canonical_json};
use tricedb_protocol::native::NativeOffer;
use tricedb_protocol::{
    AddQuery, ClientMessage, ErrorBody, ErrorMessage, Features, RemoveQuery, Transact,
};

use super::frame::Frame;
use super::frames;
use super::held::Remedy;
use super::live::{Hears, LiveId, Rights};
use super::native::NativeReader;
use super::pipeline::Mark;
use super::refusal::query_refused;
use super::state::AppState;
use crate::log::{EventKey, Outcome};

/// A session within its app; never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey(pub(crate) u64);

/// What a session starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenSession {
    /// Its id, which clients see.
    pub id: SessionId,
    /// What its client understands.
    pub features: Features,
    /// Whether it proved the app's admin token.
    pub is_admin: bool,
    /// The name of its `init`.
    pub event: Option<EventId>,
    /// Its client speaks native sessions.
    pub native: Option<NativeOffer>,
}

/// One open session.
#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) open: OpenSession,
    /// By canonical query.
    pub(super) subscriptions: HashMap<Arc<str>, Subscription, FxBuildHasher>,
    /// The version of the attribute list that was sent last.
    pub(super) attrs_sent: u64,
    /// The reader is slow: it gets no refreshes for now.
    pub(super) is_paused: bool,
    /// The position of the last commit that it made.
    pub(super) last_commit: Option<TxId>,
    /// Bytes of frames that wait in the app's state.
    pub(super) queued_bytes: usize,
    /// What its `init-ok` waits for; nothing may come before that.
    pub(super) opened: Mark,
    /// What a native session has besides.
    pub(super) native: Option<Box<NativeReader>>,
}

/// One query of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) live: LiveId,
    /// The version of the answer that was sent last; 0 if that is not known.
    pub(super) sent: u64,
    /// Whether a refresh ever carried it: then a client may show a rejected write on it.
    pub(super) was_refreshed: bool,
}

impl SessionState {
    pub(super) const fn rights(&self) -> Rights {
        if self.open.is_admin { Rights::Admin } else { Rights::Anonymous }
    }
}

impl AppState {
    /// Opens a session; its `init-ok` is the first output for the key. `now` is in milliseconds since
    /// 1970.
    ///
    /// # Errors
    /// The app has as many sessions as it may have.
    pub fn open_session(&mut self, open: OpenSession, now: i64) -> Result<SessionKey, ErrorBody> {
        if self.sessions.len() >= self.limits.sessions_max {
            let message = format!("The app has {} sessions and takes no more", self.sessions.len());
            return Err(ErrorBody::bad_request("rate-limited", message, Json::Null));
        }
        self.last_session += 1;
        let session = SessionKey(self.last_session);
        let event = open.event.clone();
        let mut state = SessionState {
            open,
            subscriptions: HashMap::default(),
            attrs_sent: self.attrs.version(),
            is_paused: false,
            last_commit: None,
            queued_bytes: 0,
            opened: self.pipeline.mark(),
            native: None,
        };
        let offer = state.open.native.take();
        self.sessions.insert(session, state);
        if let Some(offer) = offer {
            self.open_native(session, &offer, now);
        }
        self.send_init_ok(session, event);
        Ok(session)
    }

    pub(super) fn send_init_ok(&mut self, session: SessionKey, event: Option<EventId>) {
        let attrs = self.attrs.text(self.index.catalog());
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.attrs_sent = self.attrs.version();
        state.opened = self.pipeline.mark();
        let (id, is_admin) = (state.open.id, state.open.is_admin);
        let native = state.native.as_ref().map(|reader| &reader.agreed);
        let attrs = if native.is_some_and(|native| native.attrs_same) { "[]" } else { &*attrs };
        let status = self.settings.status;
        let event_id = event.as_ref();
        let frame = frames::init_ok(id, &self.identity, is_admin, attrs, event_id, native, status);
        self.send(session, frame, Remedy::Reopen { session, event });
    }

    /// Forgets a session; outputs for it may still come and go nowhere.
    pub fn close_session(&mut self, session: SessionKey) {
        if let Some(mut state) = self.sessions.remove(&session) {
            if let Some(reader) = state.native.take() {
                self.park_native(session, state.open.is_admin, *reader);
            }
            for subscription in state.subscriptions.values() {
                self.live.unsubscribe(subscription.live, session);
            }
            self.rooms.forget(session);
        }
    }

    /// Takes a message of an open session. `now` is in milliseconds since 1970.
    pub fn message(&mut self, session: SessionKey, message: ClientMessage, now: i64) {
        if !self.sessions.contains_key(&session) {
            return;
        }
        match message {
            ClientMessage::Subscribe(_) | ClientMessage::Unsubscribe(_) => {
                self.native_message(session, message, now);
            }
            ClientMessage::Transact(Transact { seq: Some(_), .. }) => {
                self.native_message(session, message, now);
            }
            ClientMessage::Transact(transact) => self.transact(session, transact, now),
            ClientMessage::AddQuery(add) => self.add_query(session, add),
            ClientMessage::RemoveQuery(remove) => self.remove_query(session, &remove),
            ClientMessage::JoinRoom(_)
            | ClientMessage::LeaveRoom(_)
            | ClientMessage::SetPresence(_)
            | ClientMessage::ClientBroadcast(_) => self.room_message(session, &message),
            ClientMessage::Init(_) | ClientMessage::Unknown { .. } => {
                let body = ErrorBody::invalid_op(message.op());
                let event = message.client_event_id();
                let error = ErrorMessage::answering(body, message.op(), event, None);
                self.send(session, frames::error(&error), Remedy::Keep);
            }
        }
    }

    fn add_query(&mut self, session: SessionKey, add: AddQuery) {
        let AddQuery { q, return_type, client_event_id: event } = add;
        match self.subscribe(session, &q, return_type) {
            Ok((canonical, Subscribed::Anew)) => self.send_query_ok(session, &canonical, event),
            Ok((_, Subscribed::Before)) => {
                let frame = frames::add_query_exists(&q.to_string(), event.as_ref());
                self.send(session, frame, Remedy::Keep);
            }
            Err(body) => self.send_query_error(session, body, event.as_ref(), q),
        }
    }

    fn subscribe(
        &mut self,
        session: SessionKey,
        q: &Json,
        form: tricedb_protocol::ReturnType,
    ) -> Result<(Arc<str>, Subscribed), ErrorBody> {
        self.settings.may_read()?;
        let query = query::parse(q).map_err(|e| query_refused(&e))?;
        let canonical = query.canonical();
        let Some(state) = self.sessions.get_mut(&session) else {
            return Err(ErrorBody::internal("the session is gone"));
        };
        if state.subscriptions.contains_key(&canonical) {
            return Ok((canonical, Subscribed::Before));
        }
        let count_max = self.limits.subscriptions_per_session_max;
        if state.subscriptions.len() >= count_max {
            let message = format!("A session may hold at most {count_max} queries.");
            return Err(ErrorBody::invalid("query", &message, Json::Null));
        }
        let hears = match state.open.features.skip_attrs {
            true => Hears::Changes,
            false => Hears::EveryTouch,
        };
        let (rights, reader) = (state.rights(), (session, hears));
        let live = self.live.subscribe(&self.index, &query, form, rights, reader);
        let subscription = Subscription { live, sent: 0, was_refreshed: false };
        state.subscriptions.insert(canonical.clone(), subscription);
        Ok((canonical, Subscribed::Anew))
    }

    /// Answers a subscription with its present result, or with why there is none; then it ends.
    ///
    /// If the app's last commit is this session's own, the answer claims the position before it: true, for
    /// a result may contain more than it claims, and what the original's clients are used to, whose position
    /// is read before the query runs. A client evaluates a query over that query's triples and those of its
    /// own transactions that the claim does not cover. So a client that has just created two things, asks
    /// for the one and then links them sees the other at the end of the link at once, although the result
    /// did not hold it. The overlay changes nothing that the result contains, and the next refresh ends it.
    pub(super) fn send_query_ok(
        &mut self,
        session: SessionKey,
        canonical: &Arc<str>,
        event: Option<EventId>,
    ) {
        self.send_owed_attrs(session);
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let Some(subscription) = state.subscriptions.get_mut(canonical) else { return };
        let live = subscription.live;
        let echo = self.live.get(live).map_or_else(|| canonical.clone(), |l| l.echo.clone());
        match self.live.fresh(live, &self.index) {
            Ok(fresh) => {
                subscription.sent = fresh.version;
                let processed = match state.last_commit {
                    Some(own) if own == self.position => TxId(own.0 - 1),
                    _ => self.position,
                };
                let frame = frames::add_query_ok(&echo, &fresh.fragment, processed, event.as_ref());
                let canonical = canonical.clone();
                self.send(session, frame, Remedy::Requery { session, canonical, event });
            }
            Err(body) => {
                self.end_subscription(session, canonical);
                let q = serde_json::from_str(&echo).unwrap_or(Json::Null);
                self.send_query_error(session, body, event.as_ref(), q);
            }
        }
    }

    pub(super) fn send_query_error(
        &mut self,
        session: SessionKey,
        body: ErrorBody,
        event: Option<&EventId>,
        q: Json,
    ) {
        let error = ErrorMessage::answering(body, "add-query", event, Some(q));
        self.send(session, frames::error(&error), Remedy::Keep);
    }

    pub(super) fn end_subscription(&mut self, session: SessionKey, canonical: &str) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        if let Some(subscription) = state.subscriptions.remove(canonical) {
            self.live.unsubscribe(subscription.live, session);
        }
    }

    fn remove_query(&mut self, session: SessionKey, remove: &RemoveQuery) {
        self.end_subscription(session, &canonical_json(&remove.q));
        let frame = frames::remove_query_ok(&remove.q.to_string(), remove.client_event_id.as_ref());
        self.send(session, frame, Remedy::Keep);
    }

    fn transact(&mut self, session: SessionKey, transact: Transact, now: i64) {
        let Transact { tx_steps, client_event_id: event, .. } = transact;
        let key = event.clone().map(|event| EventKey { user: None, event });
        let outcome = match key.as_ref().and_then(|key| self.outcomes.get(key)) {
            Some(first) => first.clone(),
            None => {
                let outcome = self.run_client_steps(&tx_steps, key, now);
                if let (Outcome::Accepted(position), Some(state)) =
                    (&outcome, self.sessions.get_mut(&session))
                {
                    state.last_commit = Some(*position);
                }
                outcome
            }
        };
        match outcome {
            Outcome::Accepted(position) => {
                let frame = frames::transact_ok(position, event.as_ref());
                self.send(session, frame, Remedy::FailTransaction { session, event });
            }
            Outcome::Rejected(error) => {
                let frame = transact_error(ErrorBody::clone(&error), event.as_ref());
                self.send(session, frame, Remedy::FailTransaction { session, event });
                self.heal(session);
            }
        }
    }

    /// The transaction was applied and lost; the client is told that it failed.
    pub(super) fn send_lost(&mut self, session: SessionKey, event: Option<&EventId>) {
        let body = ErrorBody::internal("The transaction could not be made durable and was undone.");
        self.send(session, transact_error(body, event), Remedy::Keep);
    }
}

/// Whether a session had the query already.
enum Subscribed {
    Anew,
    Before,
}

fn transact_error(body: ErrorBody, event: Option<&EventId>) -> Frame {
    frames::error(&ErrorMessage::answering(body, "transact", event, None))
}
