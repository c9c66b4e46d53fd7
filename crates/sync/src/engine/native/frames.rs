//! What a native session is told.

use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::id::TxId;
use tricedb_protocol::native::{Accepted, Ack, AckOutcome, Part, PartKind, SyncFrame};

use crate::engine::facts::fact_of;
use crate::engine::millis::Millis;
use crate::engine::report::{ServerError, SyncEvent};
use crate::engine::subscription::{Due, Extra};
use crate::engine::transact::ANSWER_MAX;
use crate::engine::view::View;
use crate::engine::{Output, SyncEngine, conflict};

impl SyncEngine {
    /// Takes a frame as one step: afterwards everything shows the server's state at its end.
    pub(in crate::engine) fn sync_frame(&mut self, now: Millis, frame: SyncFrame) {
        let SyncFrame { from, to, attrs, acks, parts } = frame;
        if self.native.position != Some(from) || to < from {
            // Something is missing. What the client holds is not the server's state anywhere.
            self.native.position = None;
            self.give_up(now, "the server's frames do not follow each other");
            return;
        }
        self.native.position = Some(to);
        self.told_at = now;
        if let Some(attrs) = attrs {
            self.learn_attrs(now, attrs.into_iter().map(Arc::new).collect());
        }
        #[cfg(feature = "mutants")]
        let parts = self.out_of_order.parts(parts, to);
        #[cfg(not(feature = "mutants"))]
        let parts = parts.into_iter().map(|part| (part, to));
        for (part, to) in parts {
            self.part(now, part, to);
        }
        for ack in acks {
            self.acked(now, ack);
        }
    }

    fn part(&mut self, now: Millis, part: Part, to: TxId) {
        let Part { sub, mut body } = part;
        let Some(held) = self.native.subs.get_mut(&sub) else { return };
        let key = held.query.clone();
        let Some(subscription) = self.queries.get_mut(&key).filter(|s| s.sub == Some(sub)) else {
            return;
        };
        match body.kind {
            PartKind::Same => {
                subscription.asked = None;
                subscription.is_fresh = true;
                subscription.position = to;
                subscription.mark(Due::Local);
                self.is_unsettled = true;
                self.may_retire = true;
            }
            PartKind::Reset => {
                held.digest = body.put.iter().collect();
                let none = |json: Option<Json>| json.filter(|json| !json.is_null());
                let extra = Extra { page_info: none(body.page), aggregate: none(body.aggregate) };
                // Whatever position the last result claimed: the server says what there is.
                subscription.is_fresh = false;
                self.accept_result(now, &key, &body.put, to, extra);
            }
            PartKind::Delta => {
                let news = |kept: &mut Option<Json>, json: Option<Json>| {
                    if let Some(json) = json {
                        *kept = Some(json).filter(|json| !json.is_null());
                    }
                };
                news(&mut subscription.extra.page_info, body.page.take());
                news(&mut subscription.extra.aggregate, body.aggregate.take());
                if subscription.view.is_none() {
                    let index = self.local.extract(&subscription.held, self.names.blank());
                    subscription.view = Some(View::new(index));
                }
                let Some(view) = &mut subscription.view else { return };
                #[cfg(feature = "mutants")]
                if tricedb_core::mutant::Mutant::DropFact.is_planted() && body.put.len() > 1 {
                    body.put.pop();
                }
                for triple in &body.put {
                    let Some(fact) = fact_of(view.index(), triple) else { continue };
                    if let Some(before) = view.confirmed(&fact) {
                        held.digest.remove(&before);
                    }
                    held.digest.add(triple);
                }
                let gone: Vec<_> = body.gone.iter().chain(&body.forget).collect();
                for before in gone.iter().filter_map(|fact| view.confirmed(fact)) {
                    held.digest.remove(&before);
                }
                view.change(&body.put, gone);
                let mut is_same = body.gone.is_empty() && body.forget.is_empty();
                let changed = self.local.change(&mut subscription.held, &body, &mut is_same);
                subscription.position = to;
                subscription.is_loaded = true;
                subscription.is_fresh = true;
                subscription.asked = None;
                subscription.refusal = None;
                subscription.mark(Due::Remote);
                self.notice_conflicts(&conflict::entities(&changed), to);
                self.ledger.rows(changed, &self.local, now);
                if is_same {
                    self.ledger.position(key);
                } else {
                    self.ledger.query(key, now);
                }
                self.is_unsettled = true;
                self.may_retire = true;
            }
        }
    }

    fn acked(&mut self, now: Millis, ack: Ack) {
        let Ack { seq, outcome } = ack;
        let Some(pending) = self.outbox.get(seq) else { return };
        let (event, id) = (pending.event.clone(), pending.name.clone());
        self.answered_at = now;
        self.answer_max = ANSWER_MAX;
        match outcome {
            AckOutcome::Accepted(Accepted { tx, was, .. }) => {
                // The frame that says so shows it: nothing is left to lay over.
                let mut writes = self.outbox.take_writes(seq);
                for replaced in was {
                    conflict::met(&mut writes, replaced, tx);
                }
                self.outputs.push_back(Output::Settled { seq, outcome: Ok(tx) });
                self.event(SyncEvent::Synced { id, tx });
                self.settle_conflicts(&mut writes, tx);
                self.outbox.remove(seq);
                self.ledger.transaction_retired(seq, now);
                self.pending_changed();
            }
            AckOutcome::Rejected(body) => {
                let error = ServerError {
                    kind: body.kind.unwrap_or_else(|| "internal".to_owned()),
                    message: body.message,
                    hint: body.hint,
                };
                if body.status >= 500 || error.kind == "rate-limited" {
                    self.transaction_failed(now, &event, body.status, &error);
                } else if let Some(pending) = self.outbox.remove(seq) {
                    self.refuse_pending(pending, error, now);
                }
            }
            AckOutcome::Forgotten => {
                let error = ServerError {
                    kind: "outcome-forgotten".to_owned(),
                    message: "The server took this transaction long ago and no longer knows \
                              whether it was accepted; it was not run again."
                        .to_owned(),
                    hint: Json::Null,
                };
                if let Some(pending) = self.outbox.remove(seq) {
                    self.refuse_pending(pending, error, now);
                }
            }
        }
    }
}
