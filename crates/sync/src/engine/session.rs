//! The session: what is said after connecting, and what the server's messages do.

use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::attr::Attr;
use tricedb_core::id::{EventId, TxId};
use tricedb_core::port::Frame;
use tricedb_core::query::canonical_json;
use tricedb_core::triple::Triple;
use tricedb_protocol::native::SyncFrame;
use tricedb_protocol::{
    AddQueryOk, AppState, CORE_PACKAGE, ClientMessage, ErrorMessage, Init, InitOk, QueryAnswer,
    RefreshOk, ServerMessage, TransactOk, Versions,
};

use super::pending::Stage;
use super::report::{ServerError, SyncEvent};
use super::subscription::Extra;
use super::{Millis, Output, SyncEngine};

/// The version of the official client whose protocol this client speaks: it decides which features an
/// official server uses.
const CORE_VERSION: &str = "v1.0.67";

impl SyncEngine {
    pub(super) fn connected(&mut self, now: Millis) {
        if !self.link.is_connecting() {
            return;
        }
        self.link.opened(now);
        self.sizes.forget();
        let versions: Versions =
            [(CORE_PACKAGE, CORE_VERSION), ("tricedb", concat!("v", env!("CARGO_PKG_VERSION")))]
                .into_iter()
                .collect();
        let init = Init {
            app_id: self.settings.app,
            refresh_token: self.settings.refresh_token.clone(),
            versions,
            admin_token: self.settings.admin_token.clone(),
            native: self.native_offer(),
            client_event_id: Some(self.next_event()),
        };
        self.send(&ClientMessage::Init(init));
    }

    pub(super) fn send(&mut self, message: &ClientMessage) {
        tracing::trace!(target: "tricedb::sync", op = message.op(), "send");
        match serde_json::to_string(message) {
            Ok(text) => {
                self.note_size(message, text.len());
                self.outputs.push_back(Output::Send(Frame::Text(text)));
            }
            // All of a message's types have a JSON form.
            Err(error) => tracing::error!(target: "tricedb::sync", %error, "unsendable message"),
        }
    }

    pub(super) fn disconnected(&mut self, now: Millis, reason: String, hopeless: bool) {
        if !self.link.is_connected() && !self.link.is_connecting() {
            return;
        }
        self.lose_session(now);
        let random = self.random();
        let wait = match hopeless {
            true => self.link.refused(now, random),
            false => self.link.lost(now, random),
        };
        self.trouble = Some(reason.as_str().into());
        self.event(SyncEvent::Disconnected { reason, retry_in: Some(wait) });
    }

    /// Ends a connection that is of no use.
    pub(super) fn give_up(&mut self, now: Millis, reason: &str) {
        self.outputs.push_back(Output::Close);
        self.disconnected(now, reason.to_owned(), false);
    }

    /// What was under way on the connection is to be said again on the next.
    pub(super) fn lose_session(&mut self, _now: Millis) {
        for seq in self.outbox.sent() {
            let waits = Stage::Waiting { not_before: None };
            self.outbox.edit(seq, |pending| pending.stage = waits);
        }
        self.native_left();
        self.queries_disconnected();
        self.rooms_disconnected();
        self.outputs.push_back(Output::PendingChanged);
    }

    pub(super) fn frame(&mut self, now: Millis, frame: Frame) {
        if !self.link.is_connected() {
            return;
        }
        self.heard_at = now;
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Binary(bytes) if self.is_native() => {
                match SyncFrame::decode_binary(&bytes) {
                    Ok(frame) => self.sync_frame(now, frame),
                    Err(error) => self.give_up(now, &error.to_string()),
                }
                return;
            }
            Frame::Binary(_) => {
                self.give_up(now, "the server sent a binary frame in a plain session");
                return;
            }
        };
        match ServerMessage::decode_frame(&text) {
            Ok(messages) => {
                for message in messages {
                    self.message(now, message);
                }
            }
            // Something was lost with it; a new session brings everything again.
            Err(error) => self.give_up(now, &error.to_string()),
        }
    }

    fn message(&mut self, now: Millis, message: ServerMessage) {
        tracing::trace!(target: "tricedb::sync", op = message.op(), "received");
        match message {
            ServerMessage::InitOk(init) => self.init_ok(now, init),
            ServerMessage::AddQueryOk(AddQueryOk { q, result, processed_tx_id, .. }) => {
                self.query_result(now, &q, result, processed_tx_id);
            }
            ServerMessage::AddQueryExists(exists) => {
                self.query_exists(now, &canonical_json(&exists.q))
            }
            ServerMessage::RemoveQueryOk(_) => {}
            #[cfg(feature = "mutants")]
            ServerMessage::RefreshOk(refresh) => {
                for refresh in self.out_of_order.refreshes(refresh) {
                    self.refresh_ok(now, refresh);
                }
            }
            #[cfg(not(feature = "mutants"))]
            ServerMessage::RefreshOk(refresh) => self.refresh_ok(now, refresh),
            ServerMessage::TransactOk(TransactOk { tx_id, client_event_id }) => {
                if let Some(event) = client_event_id {
                    self.transaction_acked(now, &event, tx_id);
                }
            }
            ServerMessage::Error(error) => self.error(now, error),
            ServerMessage::JoinRoomOk(ok) => {
                self.room_joined(&ok.room_id, ok.client_event_id.as_ref());
            }
            ServerMessage::JoinRoomError(refusal) => {
                let text = refusal.error.get("message").unwrap_or(&refusal.error);
                let error = ServerError {
                    kind: refusal.error["type"].as_str().unwrap_or("internal").to_owned(),
                    message: text.as_str().unwrap_or("the room was not entered").to_owned(),
                    hint: refusal.error.get("hint").cloned().unwrap_or_default(),
                };
                let event = refusal.client_event_id.as_ref();
                self.room_refused(Some(&refusal.room_id), event, &error);
            }
            ServerMessage::RefreshPresence(refresh) => self.presence_refreshed(refresh),
            ServerMessage::PatchPresence(patch) => self.presence_patched(&patch),
            ServerMessage::ServerBroadcast(broadcast) => self.topic_message(broadcast),
            ServerMessage::LeaveRoomOk(_)
            | ServerMessage::SetPresenceOk(_)
            | ServerMessage::ClientBroadcastOk(_) => {}
            ServerMessage::AppStatusChanged(told) => self.status_changed(now, told.status),
            ServerMessage::Sync(frame) if self.is_native() => self.sync_frame(now, frame),
            ServerMessage::Sync(_) => self.give_up(now, "the server sent what was not agreed on"),
            ServerMessage::Unknown { op } => {
                tracing::debug!(target: "tricedb::sync", op, "ignored an unknown message");
            }
        }
    }

    fn init_ok(&mut self, now: Millis, init: InitOk) {
        if self.link.authenticated_since().is_some() {
            return;
        }
        self.link.authenticated(now);
        self.trouble = None;
        self.take_status(init.app_status.status);
        match &init.native {
            Some(agreed) => self.native_agreed(agreed, now),
            None => self.native_forgotten(),
        }
        if init.native.is_none_or(|agreed| !agreed.attrs_same) {
            self.learn_attrs(now, init.attrs.into_iter().map(Arc::new).collect());
        }
        self.end_races();
        self.event(SyncEvent::Connected);
        self.rooms_connected(now, &init.session_id);
        self.ask_all(now);
    }

    /// The app may be used otherwise than before. Of a disabled one the server tells nothing more; once it is
    /// in use again everything begins anew.
    fn status_changed(&mut self, now: Millis, status: AppState) {
        let before = self.app_state;
        self.take_status(status);
        match (before, status) {
            (AppState::Disabled, AppState::Active | AppState::ReadOnly) => {
                self.native_forgotten();
                self.give_up(now, "the app is in use again");
            }
            (_, AppState::Disabled) => {
                let error = ServerError {
                    kind: "app-disabled".to_owned(),
                    message: "This app is disabled.".to_owned(),
                    hint: serde_json::json!({"status": status.name()}),
                };
                for query in self.active() {
                    self.native_refused(&query);
                    self.query_refused(now, Some(&*query), None, error.clone());
                }
            }
            _ => {}
        }
    }

    fn take_status(&mut self, status: AppState) {
        if self.app_state != status {
            self.app_state = status;
            self.event(SyncEvent::AppStatus { status: status.name() });
        }
    }

    fn refresh_ok(&mut self, now: Millis, refresh: RefreshOk) {
        if let Some(attrs) = refresh.attrs {
            self.learn_attrs(now, attrs.into_iter().map(Arc::new).collect());
        }
        for computation in refresh.computations {
            let (q, result) = (computation.instaql_query, computation.instaql_result);
            self.query_result(now, &q, result, refresh.processed_tx_id);
        }
    }

    fn query_result(&mut self, now: Millis, q: &Json, result: QueryAnswer, position: TxId) {
        let aggregate = match &result {
            QueryAnswer::Nodes(nodes) => nodes.first().and_then(|n| n.data.aggregate.as_ref()),
            QueryAnswer::Tree(_) => None,
        };
        let extra = Extra {
            page_info: result.page_info().and_then(|info| serde_json::to_value(info).ok()),
            aggregate: aggregate.and_then(|counts| serde_json::to_value(counts).ok()),
        };
        let triples: Vec<Triple> = result.into_triples();
        self.accept_result(now, &canonical_json(q), &triples, position, extra);
    }

    /// Takes the server's complete list of attributes.
    pub(super) fn learn_attrs(&mut self, now: Millis, attrs: Vec<Arc<Attr>>) {
        if self.names.server() == attrs.as_slice() {
            return;
        }
        let mut before = self.names.server().to_vec();
        before.sort_by_key(|attr| attr.id);
        let mut after = attrs.clone();
        after.sort_by_key(|attr| attr.id);
        if before == after {
            return;
        }
        let kept = |attr: &Arc<Attr>| after.binary_search_by_key(&attr.id, |a| a.id).is_ok();
        let removed = !before.iter().all(kept);
        let is_alike = before.len() == after.len()
            && before.iter().zip(&after).all(|(one, other)| super::queries::is_alike(one, other));
        if is_alike {
            self.names.note_types(attrs);
        } else {
            self.names = super::names::Names::new(attrs, self.names.schema());
        }
        self.replace_attrs(removed);
        if !is_alike {
            self.accept_premature(now);
            self.expand_pending(now);
        }
        self.ledger.attrs(now);
    }

    fn error(&mut self, now: Millis, message: ErrorMessage) {
        let error = ServerError {
            kind: message.body.kind.clone().unwrap_or_else(|| "internal".to_owned()),
            message: message.body.message.clone(),
            hint: message.body.hint.clone(),
        };
        let event: Option<&EventId> = message.client_event_id.as_ref();
        if self.link.authenticated_since().is_none() {
            self.session_refused(now, error);
            return;
        }
        match message.failed_op() {
            Some("add-query" | "subscribe") => {
                let query = message.failed_query().map(canonical_json);
                if let Some(query) = &query {
                    self.native_refused(query);
                }
                self.query_refused(now, query.as_deref(), event, error);
            }
            Some("refresh") => self.ask_again(now),
            Some("join-room") => self.room_refused(None, event, &error),
            Some("set-presence" | "client-broadcast") => {
                let room = message.original_event.get("room-id").and_then(Json::as_str);
                self.room_message_refused(room, error);
            }
            _ => {
                let status = message.body.status;
                let known = event.is_some_and(|e| self.transaction_failed(now, e, status, &error));
                if !known {
                    tracing::warn!(target: "tricedb::sync", kind = error.kind, error = %error, "the server reported an error");
                }
            }
        }
    }

    fn session_refused(&mut self, now: Millis, error: ServerError) {
        self.outputs.push_back(Output::Close);
        self.lose_session(now);
        let random = self.random();
        let retry_in = self.link.refused(now, random);
        self.trouble = Some(error.message.as_str().into());
        self.event(SyncEvent::SessionRefused { error, retry_in });
    }
}
