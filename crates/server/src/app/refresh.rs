//! Refreshes: who hears of which change.

use std::collections::HashMap;

use super::fragment::Fragment;
use super::frame::Frame;
use super::frames;
use super::held::Remedy;
use super::live::{LiveId, LiveQueries};
use super::sessions::SessionKey;
use super::state::AppState;

/// What one session is told, and one frame for all that are told the same.
#[derive(PartialEq, Eq, Hash)]
struct Told {
    queries: Vec<LiveId>,
    with_attrs: bool,
}

impl AppState {
    /// Encodes what was touched and tells the sessions whose results changed; everyone, if attributes
    /// did. One refresh covers everything since the last one.
    pub(super) fn refresh(&mut self) {
        self.refresh_plain();
        self.refresh_native();
    }

    fn refresh_plain(&mut self) {
        let mut owed = self.encode_stale();
        for live in self.live.take_changed() {
            let subscribers = self.live.get(live).into_iter().flat_map(|live| &live.subscribers);
            owed.extend(subscribers.map(|session| (*session, Some(live))));
        }
        if self.attrs.take_changed() {
            owed.extend(self.sessions.keys().map(|session| (*session, None)));
        }
        let catching_up = std::mem::take(&mut self.catching_up);
        for session in catching_up {
            self.native.owed.insert(session);
            self.owe_everything(session, &mut owed);
        }
        if owed.is_empty() {
            return;
        }
        owed.sort_unstable();
        owed.dedup();
        let mut frames: HashMap<Told, Frame> = HashMap::new();
        for group in owed.chunk_by(|a, b| a.0 == b.0) {
            let queries = group.iter().filter_map(|(_, live)| *live);
            self.refresh_session(group[0].0, queries, Unchanged::Skip, &mut frames);
        }
    }

    /// Tells a session of attributes that it has not heard of. An answer must not come before: official
    /// clients drop facts of attributes that they do not know.
    pub(super) fn send_owed_attrs(&mut self, session: SessionKey) {
        let version = self.attrs.version();
        if self.sessions.get(&session).is_some_and(|state| state.attrs_sent != version) {
            self.refresh_session(session, std::iter::empty(), Unchanged::Skip, &mut HashMap::new());
        }
    }

    /// Encodes the answers of touched queries. Gives the sessions of old clients that hold one, which want to hear of
    /// every refresh even if nothing changed.
    fn encode_stale(&mut self) -> Vec<(SessionKey, Option<LiveId>)> {
        let mut owed = Vec::new();
        for live in self.live.take_stale() {
            let subscribers = match self.live.get(live) {
                Some(query) => query.subscribers.clone(),
                None => continue,
            };
            let is_old = |session: &SessionKey| {
                self.sessions.get(session).is_some_and(|s| !s.open.features.skip_attrs)
            };
            owed.extend(subscribers.iter().copied().filter(is_old).map(|session| (session, None)));
            let is_paused =
                |session: &SessionKey| self.sessions.get(session).is_none_or(|s| s.is_paused);
            if self.live.can_run(live) && subscribers.iter().all(is_paused) {
                // It is encoded when somebody can take it.
                continue;
            }
            if let Err(body) = self.live.fresh(live, &self.index) {
                let echo = self.live.get(live).map(|query| query.echo.clone()).unwrap_or_default();
                let canonical = self.live.get(live).map(|query| query.key.canonical.clone());
                let q: serde_json::Value = serde_json::from_str(&echo).unwrap_or_default();
                // The others' refreshes must not fall with this one's.
                for session in subscribers {
                    if let Some(canonical) = &canonical {
                        self.end_subscription(session, canonical);
                    }
                    self.send_query_error(session, body.clone(), None, q.clone());
                }
            }
        }
        owed
    }

    fn owe_everything(
        &mut self,
        session: SessionKey,
        owed: &mut Vec<(SessionKey, Option<LiveId>)>,
    ) {
        let Some(state) = self.sessions.get(&session) else { return };
        owed.push((session, None));
        owed.extend(state.subscriptions.values().map(|s| (session, Some(s.live))));
    }

    /// Sends one session what it lacks of some queries, and the attributes if it lacks these.
    fn refresh_session(
        &mut self,
        session: SessionKey,
        queries: impl Iterator<Item = LiveId>,
        unchanged: Unchanged,
        frames: &mut HashMap<Told, Frame>,
    ) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let is_told_otherwise = state.native.is_some() && state.subscriptions.is_empty();
        if state.is_paused || is_told_otherwise {
            return;
        }
        let is_old = !state.open.features.skip_attrs;
        let with_attrs = is_old || state.attrs_sent != self.attrs.version();
        state.attrs_sent = self.attrs.version();
        let mut told = Told { queries: Vec::new(), with_attrs };
        for live in queries {
            let Some(query) = self.live.get(live) else { continue };
            let canonical = query.key.canonical.clone();
            let Some(subscription) = state.subscriptions.get_mut(&canonical) else { continue };
            // An evaluation that fails here is met again, and answered, at the next refresh.
            let Ok(fresh) = self.live.fresh(live, &self.index) else { continue };
            if subscription.sent != fresh.version || unchanged == Unchanged::Repeat {
                subscription.sent = fresh.version;
                subscription.was_refreshed = true;
                told.queries.push(live);
            }
        }
        if told.queries.is_empty() && !with_attrs {
            return;
        }
        let frame = match frames.get(&told) {
            Some(frame) => frame.clone(),
            None => {
                let frame = self.encode_refresh(&told);
                frames.insert(told, frame.clone());
                frame
            }
        };
        self.send(session, frame, Remedy::Refresh { session });
    }

    fn encode_refresh(&mut self, told: &Told) -> Frame {
        let attrs = told.with_attrs.then(|| self.attrs.text(self.index.catalog()));
        let parts: Vec<_> = told
            .queries
            .iter()
            .filter_map(|live| {
                let fresh = self.live.fresh(*live, &self.index).ok()?;
                Some((echo_of(&self.live, *live), fresh.fragment))
            })
            .collect();
        let computations = parts.iter().map(|(q, fragment)| (&**q, &**fragment as &Fragment));
        frames::refresh_ok(computations, attrs.as_deref(), self.position)
    }

    /// After an `error` to a transaction: official clients store a refresh together with their pending
    /// writes, so a rejected write that a refresh met stays on screen until the next one. Sends the
    /// present results of all queries that were ever refreshed, changed or not.
    pub(super) fn heal(&mut self, session: SessionKey) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let is_paused = state.is_paused;
        let mut queries = Vec::new();
        for subscription in state.subscriptions.values_mut().filter(|s| s.was_refreshed) {
            if is_paused {
                // Changed or not, it is sent once the reader has caught up.
                subscription.sent = 0;
            }
            queries.push(subscription.live);
        }
        if !queries.is_empty() {
            self.refresh_session(
                session,
                queries.into_iter(),
                Unchanged::Repeat,
                &mut HashMap::new(),
            );
        }
    }

    /// What the session was sent last is not known any more: everything is sent anew.
    pub(super) fn catch_up_fully(&mut self, session: SessionKey) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.attrs_sent = 0;
        for subscription in state.subscriptions.values_mut() {
            subscription.sent = 0;
        }
        self.catching_up.push(session);
    }

    /// The session's reader is slow: it gets no refreshes until [`Self::resume`].
    pub fn pause(&mut self, session: SessionKey) {
        if let Some(state) = self.sessions.get_mut(&session) {
            state.is_paused = true;
            self.rooms.pause(session);
        }
    }

    /// The session's reader has caught up: what it missed is computed now, as one refresh.
    pub fn resume(&mut self, session: SessionKey) {
        if let Some(state) = self.sessions.get_mut(&session)
            && std::mem::take(&mut state.is_paused)
        {
            self.catching_up.push(session);
            self.rooms.resume(session);
            self.release_rooms();
        }
    }
}

/// What to do with results that the session has already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unchanged {
    Skip,
    Repeat,
}

fn echo_of(live: &LiveQueries, id: LiveId) -> std::sync::Arc<str> {
    live.get(id).map_or_else(|| "null".into(), |query| query.echo.clone())
}
