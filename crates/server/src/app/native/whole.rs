//! Whole sets of facts, encoded once for all who are to get them; large ones away from the app's task.

use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::query::DetachedResult;
use tricedb_protocol::native::{Encoding, Fragment, PartBody, PartKind};

use super::sources::SourceId;

/// Results with more entities than this are encoded elsewhere.
pub(super) const ROWS_MAX: usize = 500;

/// A large result on its way to be encoded. Needs nothing of the app: [`Self::run`] may be called on any
/// thread.
#[derive(Debug)]
pub struct EncodeJob {
    pub(super) source: SourceId,
    /// Which of the sources that ever had this id.
    pub(super) serial: u64,
    pub(super) version: u64,
    pub(super) encoding: Encoding,
    pub(super) result: DetachedResult,
    pub(super) page: Option<Json>,
    pub(super) aggregate: Option<Json>,
}

/// What came of an [`EncodeJob`].
#[derive(Debug)]
pub struct Encoded {
    pub(super) source: SourceId,
    pub(super) serial: u64,
    pub(super) version: u64,
    pub(super) encoding: Encoding,
    pub(super) fragment: Arc<Fragment>,
}

impl EncodeJob {
    /// Does the work: some milliseconds for a thousand rows.
    pub fn run(self) -> Encoded {
        let Self { source, serial, version, encoding, result, page, aggregate } = self;
        let body = PartBody {
            kind: PartKind::Reset,
            put: result.triples(),
            page,
            aggregate,
            ..PartBody::default()
        };
        let fragment = Arc::new(body.encode(encoding));
        Encoded { source, serial, version, encoding, fragment }
    }
}
