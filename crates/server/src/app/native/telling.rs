//! What native sessions are told, and when: with each refresh, one frame for each that is owed anything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::id::TxId;
use tricedb_core::query;
use tricedb_protocol::native::{
    Ack, AckOutcome, Encoding, Fragment, FrameHeader, SubId, Subscribe, Unsubscribe, write_frame,
};
use tricedb_protocol::{ErrorBody, ErrorMessage};

use super::super::frame::Frame;
use super::super::frames;
use super::super::held::Remedy;
use super::super::refusal::query_refused;
use super::super::sessions::SessionKey;
use super::super::state::AppState;
use super::reader::Sub;
use super::source::Owed;
use super::sources::SourceId;
use super::whole::{EncodeJob, Encoded};

/// After so many commits also those who are owed nothing are told where they stand.
const LAG_MAX: u64 = 1_024;

/// Frames that say the same are written once.
type Shared = HashMap<(TxId, Encoding, bool, Vec<(SubId, SourceId, u64)>), Frame>;

impl AppState {
    pub(super) fn subscribe_native(&mut self, session: SessionKey, subscribe: Subscribe) {
        let Subscribe { sub, q, have, client_event_id: event } = subscribe;
        if let Err(body) = self.try_subscribe(session, sub, &q, have) {
            let error = ErrorMessage::answering(body, "subscribe", event.as_ref(), Some(q));
            self.send(session, frames::error(&error), Remedy::Keep);
        }
    }

    fn try_subscribe(
        &mut self,
        session: SessionKey,
        sub: SubId,
        q: &Json,
        have: Option<tricedb_protocol::native::Have>,
    ) -> Result<(), ErrorBody> {
        self.settings.may_read()?;
        let query = query::parse(q).map_err(|error| query_refused(&error))?;
        let count_max = self.limits.subscriptions_per_session_max;
        let Some(state) = self.sessions.get(&session) else { return Ok(()) };
        let rights = state.rights();
        let Some(reader) = &state.native else { return Ok(()) };
        if reader.subs.contains_key(&sub) {
            let message = format!("The session has a subscription {} already.", sub.0);
            return Err(ErrorBody::invalid("subscribe", &message, Json::Null));
        }
        if reader.subs.len() >= count_max {
            let message = format!("A session may hold at most {count_max} queries.");
            return Err(ErrorBody::invalid("query", &message, Json::Null));
        }
        let asked = have.map(|have| (query.clone(), have));
        let source = self.native.sources.enter(&self.index, query, rights, session);
        if let Err(body) = self.native.sources.get_mut(source).map_or(Ok(()), |s| s.check()) {
            self.native.sources.leave(source, session);
            return Err(body);
        }
        let own = asked.and_then(|(query, have)| self.verify_have(&query, rights, have, source));
        let version = self.native.sources.get_mut(source).map_or(0, |source| source.version);
        let sent = if own.is_some() { version } else { 0 };
        self.native.owed.insert(session);
        let Some(reader) = self.native_of(session) else { return Ok(()) };
        reader.own_parts.extend(own.map(|body| (sub, body)));
        reader.subs.insert(sub, Sub { source, sent });
        Ok(())
    }

    pub(super) fn unsubscribe_native(&mut self, session: SessionKey, unsubscribe: &Unsubscribe) {
        let Some(reader) = self.native_of(session) else { return };
        if let Some(gone) = reader.subs.remove(&unsubscribe.sub) {
            reader.own_parts.retain(|(sub, _)| *sub != unsubscribe.sub);
            self.native.sources.leave(gone.source, session);
        }
    }

    /// Ends all subscriptions of a session.
    pub(in crate::app) fn end_native_subscriptions(&mut self, session: SessionKey) {
        let Some(reader) = self.native_of(session) else { return };
        reader.own_parts.clear();
        for (_, sub) in std::mem::take(&mut reader.subs) {
            self.native.sources.leave(sub.source, session);
        }
    }

    /// Brings touched queries up to date and tells the sessions that are owed anything.
    pub(in crate::app) fn refresh_native(&mut self) {
        let mut owed = std::mem::take(&mut self.native.owed);
        for id in self.native.sources.take_stale() {
            match self.update_source(id) {
                Ok(false) => {}
                Ok(true) => {
                    let source = self.native.sources.get_mut(id);
                    owed.extend(source.into_iter().flat_map(|source| source.readers.keys()));
                }
                Err(body) => self.end_source(id, &body),
            }
        }
        let attrs = self.attrs.version();
        let told_all = self.native.told_all;
        if self.native.attrs_told != attrs || self.position.0.abs_diff(told_all.0) >= LAG_MAX {
            self.native.attrs_told = attrs;
            self.native.told_all = self.position;
            let native = self.sessions.iter().filter(|(_, state)| state.native.is_some());
            owed.extend(native.map(|(session, _)| *session));
        }
        let mut shared = Shared::new();
        for session in owed {
            self.tell_native(session, &mut shared);
        }
        self.native.sources.evict(KEPT_BYTES);
    }

    /// A query does not fit the attributes any more.
    fn end_source(&mut self, id: SourceId, body: &ErrorBody) {
        let Some(source) = self.native.sources.get_mut(id) else { return };
        let q = source.query.json().clone();
        let readers: Vec<SessionKey> = source.readers.keys().copied().collect();
        for session in readers {
            let Some(reader) = self.native_of(session) else { continue };
            let ended: Vec<SubId> =
                reader.subs.iter().filter(|(_, s)| s.source == id).map(|(sub, _)| *sub).collect();
            for sub in ended {
                if let Some(reader) = self.native_of(session) {
                    reader.subs.remove(&sub);
                }
                self.native.sources.leave(id, session);
                let error =
                    ErrorMessage::answering(body.clone(), "subscribe", None, Some(q.clone()));
                self.send(session, frames::error(&error), Remedy::Keep);
            }
        }
    }

    fn tell_native(&mut self, session: SessionKey, shared: &mut Shared) {
        self.update_sources_of(session);
        let (to, index) = (self.position, &self.index);
        let version = self.attrs.version();
        let mut jobs = Vec::new();
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let Some(reader) = state.native.as_deref_mut() else { return };
        if state.is_paused {
            // What it is owed is found out when it can take it.
            return;
        }
        let with_attrs = std::mem::replace(&mut state.attrs_sent, version) != version;
        let encoding = reader.encoding;
        let (acks, own) = (std::mem::take(&mut reader.acks), std::mem::take(&mut reader.own_parts));
        let mut owed: Vec<(SubId, SourceId, u64)> = Vec::new();
        let mut fragments: Vec<(SubId, Arc<Fragment>)> = Vec::new();
        for (sub, held) in &mut reader.subs {
            let Some(source) = self.native.sources.get_mut(held.source) else { continue };
            if source.is_stale || source.version == held.sent {
                continue;
            }
            if held.sent == 0 && source.coming.contains(&encoding) {
                // It is being encoded; the others do not wait for it.
                continue;
            }
            match source.owed(held.sent, encoding, index) {
                Owed::Parts(parts) => {
                    owed.push((*sub, held.source, held.sent));
                    fragments.extend(parts.into_iter().map(|part| (*sub, part)));
                    held.sent = source.version;
                }
                Owed::Large(result) => {
                    held.sent = 0;
                    source.coming.push(encoding);
                    let (page, aggregate) = source.around();
                    jobs.push(EncodeJob {
                        source: held.source,
                        serial: source.serial,
                        version: source.version,
                        encoding,
                        result: result.detach(index),
                        page,
                        aggregate,
                    });
                }
            }
        }
        let from = std::mem::replace(&mut reader.position, to);
        self.native.jobs.extend(jobs);
        if from == to && acks.is_empty() && own.is_empty() && owed.is_empty() && !with_attrs {
            return;
        }
        let is_shared = acks.is_empty() && own.is_empty();
        let key = (from, encoding, with_attrs, owed);
        let frame = match shared.get(&key).filter(|_| is_shared) {
            Some(frame) => frame.clone(),
            None => {
                let mut parts: Vec<(SubId, Arc<Fragment>)> =
                    own.iter().map(|(sub, body)| (*sub, Arc::new(body.encode(encoding)))).collect();
                parts.append(&mut fragments);
                let parts: Vec<_> = parts.iter().map(|(sub, part)| (*sub, &**part)).collect();
                let attrs = with_attrs.then(|| self.attrs.text(index.catalog()));
                let header = FrameHeader { from, to, attrs: attrs.as_deref(), acks: &acks };
                let frame = Frame::from(write_frame(encoding, &header, &parts));
                if is_shared {
                    shared.insert(key, frame.clone());
                }
                frame
            }
        };
        let acks = acks.into_iter().map(|ack| ack.seq).collect();
        self.send(session, frame, Remedy::Resync { session, from, acks });
    }

    /// Brings up to date what a session holds, if something new was touched since.
    fn update_sources_of(&mut self, session: SessionKey) {
        let Some(reader) = self.native_of(session) else { return };
        let sources: Vec<SourceId> = reader.subs.values().map(|sub| sub.source).collect();
        for id in sources {
            if self.native.sources.get_mut(id).is_some_and(|source| source.is_stale) {
                // What fails here is met again, and answered, at the next refresh.
                let changed = self.update_source(id).unwrap_or(false);
                let source = self.native.sources.get_mut(id).filter(|_| changed);
                let readers: Vec<SessionKey> =
                    source.into_iter().flat_map(|source| source.readers.keys().copied()).collect();
                self.native.owed.extend(readers.into_iter().filter(|other| *other != session));
            }
        }
    }

    /// A large result was encoded: those who wait for it get it with the next refresh.
    pub fn encoded(&mut self, encoded: Encoded) {
        let Encoded { source: id, serial, version, encoding, fragment } = encoded;
        let source = self.native.sources.get_mut(id).filter(|source| source.serial == serial);
        let Some(source) = source else { return };
        source.encoded(encoding, version, fragment);
        let readers: Vec<SessionKey> = source.readers.keys().copied().collect();
        self.native.owed.extend(readers);
    }

    /// A frame is lost with a failed flush: the session goes on from where it stood before, and is told the
    /// whole of everything.
    pub(in crate::app) fn resync_native(&mut self, session: SessionKey, from: TxId, acks: &[u64]) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        state.attrs_sent = 0;
        let Some(reader) = state.native.as_deref_mut() else { return };
        reader.position = reader.position.min(from);
        reader.own_parts.clear();
        reader.subs.values_mut().for_each(|sub| sub.sent = 0);
        // Undone, so that sent again they run.
        reader.acks.splice(..0, acks.iter().map(|seq| Ack { seq: *seq, outcome: undone() }));
        self.native.owed.insert(session);
    }

    /// Outcomes that were not told yet are lost with a failed flush too.
    pub(in crate::app) fn undo_acks(&mut self) {
        for (session, state) in &mut self.sessions {
            let Some(reader) = state.native.as_deref_mut() else { continue };
            for ack in &mut reader.acks {
                ack.outcome = undone();
            }
            // What it held may be of positions that are taken back.
            reader.position = reader.position.min(self.position);
            reader.agreed.position = reader.agreed.position.min(self.position);
            self.native.owed.insert(*session);
        }
    }
}

/// Whole results above this size are encoded again for whoever comes later.
const KEPT_BYTES: usize = 64 << 10;

fn undone() -> AckOutcome {
    let message = "The transaction could not be made durable and was undone.";
    AckOutcome::Rejected(ErrorBody::internal(message))
}

/// Sessions in the order of their keys.
pub(super) type OwedSessions = BTreeSet<SessionKey>;
