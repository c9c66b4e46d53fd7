//! A native session: what it holds, and what it is owed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tricedb_core::id::TxId;
use tricedb_core::query::Query;
use tricedb_protocol::native::{Ack, Encoding, NativeSession, PartBody, SubId};
use uuid::Uuid;

use super::sources::SourceId;

/// The native part of a session's state.
#[derive(Debug)]
pub(in crate::app) struct NativeReader {
    pub(super) client: Uuid,
    pub(super) encoding: Encoding,
    /// What its `init-ok` says.
    pub(in crate::app) agreed: NativeSession,
    /// Where the last frame for it ends.
    pub(super) position: TxId,
    pub(super) subs: BTreeMap<SubId, Sub>,
    /// Outcomes that it has not been told.
    pub(super) acks: Vec<Ack>,
    /// Parts for it alone, which come before what its sources say.
    pub(super) own_parts: Vec<(SubId, PartBody)>,
}

/// One subscription of a native session.
#[derive(Clone, Debug)]
pub(super) struct Sub {
    pub(super) source: SourceId,
    /// The version of the source that it was sent; 0 if it is to get the whole.
    pub(super) sent: u64,
}

/// What remains of a native session that ended, for its client to go on from.
#[derive(Clone, Debug)]
pub(super) struct ParkedSession {
    pub(super) is_admin: bool,
    pub(super) subs: Vec<(SubId, Query, Arc<str>)>,
}
