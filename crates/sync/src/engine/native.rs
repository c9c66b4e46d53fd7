//! Native sessions: one position for all queries, changes instead of results, transactions by number.
//!
//! Against a server that does not know them nothing of this is used, and the session is plain.

mod frames;
mod numbers;

use std::collections::BTreeMap;
use std::sync::Arc;

use tricedb_core::id::{IdSource, TxId};
use tricedb_protocol::native::{
    Digest, FactDigest, Have, NATIVE_VERSION, NativeOffer, NativeSession, ResumeOffer, SubId,
    Subscribe, Unsubscribe, attrs_digest, set_digest,
};
use tricedb_protocol::{ClientMessage, Transact};
use uuid::Uuid;

use super::millis::Millis;
use super::{Subscription, SyncEngine};
pub(crate) use numbers::Numbers;

/// Key under which the client's id is kept.
const CLIENT_KEY: &str = "client";
/// Key under which the epoch of the positions is kept.
const EPOCH_KEY: &str = "epoch";

/// What the client has of native sessions, the present one and those before.
#[derive(Debug)]
pub(crate) struct NativeClient {
    client: Uuid,
    pub(crate) numbers: Numbers,
    /// The epoch of the positions that are held.
    epoch: Option<u64>,
    /// Where the present session stands; `None` while there is none or it is plain.
    pub(crate) position: Option<TxId>,
    /// Where the last session stood that ended; `None` if nobody can go on from there.
    left: Option<TxId>,
    last_sub: u32,
    /// What the server was told to keep up to date.
    subs: BTreeMap<SubId, Held>,
}

/// A subscription as the server knows it.
#[derive(Debug)]
struct Held {
    query: Arc<str>,
    /// Its facts as the server told them.
    digest: FactDigest,
}

impl NativeClient {
    /// Begins with what the storage holds.
    pub(crate) fn restore(
        key_values: &[(String, Vec<u8>)],
        ids: &mut dyn IdSource,
    ) -> (Self, bool) {
        let get = |key| key_values.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        let client = get(CLIENT_KEY).and_then(|bytes| Uuid::from_slice(bytes).ok());
        let epoch = get(EPOCH_KEY)
            .and_then(|bytes| Some(u64::from_le_bytes(bytes.as_slice().try_into().ok()?)));
        let is_new = client.is_none();
        let native = Self {
            client: client.unwrap_or_else(|| ids.next_uuid()),
            numbers: Numbers::restore(get(numbers::KEY).map(Vec::as_slice)),
            epoch,
            position: None,
            left: None,
            last_sub: 0,
            subs: BTreeMap::new(),
        };
        (native, is_new)
    }

    fn digest(&self) -> Digest {
        let with =
            |sum: FactDigest, (sub, held): (&SubId, &Held)| sum.with(sub.0, held.digest.digest());
        self.subs.iter().fold(FactDigest::default(), with).digest()
    }
}

impl SyncEngine {
    /// Writes down who this client is, before anything is sent under its name.
    pub(super) fn introduce(&mut self, is_new: bool, now: Millis) {
        if is_new {
            let id = self.native.client.as_bytes().to_vec();
            self.ledger.key_value(CLIENT_KEY, Some(id), now);
        }
        self.reserve_numbers(now);
    }

    /// What `init` says of native sessions.
    pub(super) fn native_offer(&self) -> Option<NativeOffer> {
        let native = &self.native;
        let resume = native.left.zip(native.epoch).map(|(position, epoch)| ResumeOffer {
            epoch,
            position,
            set: set_digest(native.subs.iter().map(|(sub, held)| (sub.0, &*held.query))),
            digest: native.digest(),
            attrs: attrs_digest(self.names.server().iter().map(|attr| &**attr)),
        });
        self.settings.native_sessions.then_some(NativeOffer {
            version: NATIVE_VERSION,
            client: native.client,
            binary: true,
            zstd: cfg!(feature = "compression"),
            resume,
        })
    }

    /// The server agreed. Whether its attribute list is the one that is known.
    pub(super) fn native_agreed(&mut self, agreed: &NativeSession, now: Millis) {
        let is_other_life = self.native.epoch != Some(agreed.epoch);
        if is_other_life {
            self.native.epoch = Some(agreed.epoch);
            self.ledger.key_value(EPOCH_KEY, Some(agreed.epoch.to_le_bytes().to_vec()), now);
            // Positions of another life mean nothing.
            for query in self.queries.values_mut() {
                query.position = TxId(0);
            }
        }
        if !agreed.resumed {
            self.native_forgotten();
        }
        self.native.left = None;
        self.native.position = Some(agreed.position);
        tracing::debug!(target: "tricedb::sync", resumed = agreed.resumed, position = %agreed.position, "native session");
        if !agreed.resumed {
            return;
        }
        // Those that are still wanted go on; the others end, and new ones begin.
        let mut unwanted = Vec::new();
        for (sub, held) in &self.native.subs {
            match self.queries.get_mut(&held.query).filter(|query| query.sub == Some(*sub)) {
                Some(query) if query.is_active() => {
                    query.is_fresh = true;
                    query.asked = None;
                    query.refusal = None;
                    query.mark(super::subscription::Due::Local);
                }
                Some(query) => {
                    query.sub = None;
                    unwanted.push(*sub);
                }
                None => unwanted.push(*sub),
            }
        }
        unwanted.into_iter().for_each(|sub| self.native_unsubscribe(sub));
    }

    /// The session is plain: nobody goes on from an earlier one.
    pub(super) fn native_forgotten(&mut self) {
        self.native.left = None;
        self.native.subs.clear();
        self.queries.values_mut().for_each(|query| query.sub = None);
    }

    /// Whether the present session is native.
    pub(super) const fn is_native(&self) -> bool {
        self.native.position.is_some()
    }

    /// Asks for a query, in a native session.
    pub(super) fn native_ask(&mut self, now: Millis, key: &Arc<str>) {
        let Some(subscription) = self.queries.get_mut(key) else { return };
        if subscription.sub.is_some() {
            return;
        }
        self.native.last_sub += 1;
        let sub = SubId(self.native.last_sub);
        subscription.sub = Some(sub);
        subscription.asked = Some(now);
        subscription.refusal = None;
        let facts = digest_of(subscription);
        let position = subscription.position;
        let have = facts
            .filter(|_| subscription.is_loaded && position > TxId(0))
            .map(|digest| Have { position, digest: digest.digest() });
        let message = Subscribe {
            sub,
            q: subscription.query.json().clone(),
            have,
            client_event_id: Some(subscription.event.clone()),
        };
        let digest = facts.filter(|_| have.is_some()).unwrap_or_default();
        self.native.subs.insert(sub, Held { query: key.clone(), digest });
        self.send(&ClientMessage::Subscribe(message));
    }

    /// Ends a query's subscription, in a native session.
    pub(super) fn native_unsubscribe(&mut self, sub: SubId) {
        self.native.subs.remove(&sub);
        let message = Unsubscribe { sub, client_event_id: None };
        self.send(&ClientMessage::Unsubscribe(message));
    }

    /// The server refused a query: there is no subscription.
    pub(super) fn native_refused(&mut self, key: &str) {
        if let Some(sub) = self.queries.get_mut(key).and_then(|query| query.sub.take()) {
            self.native.subs.remove(&sub);
        }
    }

    /// The session ended; the client may go on from where it stood.
    pub(super) fn native_left(&mut self) {
        let Some(position) = self.native.position.take() else { return };
        self.native.left = Some(position);
        // Each query's facts are the server's at this position.
        for query in self.queries.values_mut().filter(|query| query.is_fresh && query.sub.is_some())
        {
            query.position = position;
        }
    }

    /// What makes a transaction a native one.
    pub(super) fn number(&self, mut transact: Transact, seq: u64) -> Transact {
        if let Some(position) = self.native.position {
            transact.seq = Some(seq);
            transact.base = Some(position);
        }
        transact
    }
}

/// The digest of a loaded query's facts as they are held.
fn digest_of(subscription: &Subscription) -> Option<FactDigest> {
    let view = subscription.view.as_ref()?;
    let triple = |fact| view.confirmed(fact);
    let mut digest = FactDigest::default();
    subscription.held.iter().filter_map(triple).for_each(|triple| digest.add(&triple));
    Some(digest)
}
