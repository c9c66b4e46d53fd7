//! Results as programs see them.

use serde_json::{Value as Json, json};
use tricedb_core::id::TxId;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{EvalOptions, Inference, Query, QueryError, Spelling, Windows, evaluate};

use super::subscription::Extra;

/// Whether a result rests on all the data that decides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coverage {
    /// The server gave this query's data; pending writes are laid over it.
    Complete,
    /// Evaluated on whatever the client happens to hold: rows may be missing.
    Partial,
}

/// A query's result at one moment. Immutable.
#[derive(Clone, PartialEq, Debug)]
pub struct QueryResultSnapshot {
    data: Json,
    page_info: Option<Json>,
    aggregate: Option<Json>,
    coverage: Coverage,
    position: TxId,
}

impl QueryResultSnapshot {
    /// The object form: for each namespace an array of objects. Linked objects are in arrays under their
    /// labels; a link that can have one target only, by the schema, is the object itself, and the key is
    /// absent if there is none.
    pub const fn data(&self) -> &Json {
        &self.data
    }

    /// The entities of one top-level namespace, in order; empty if it was not asked for.
    pub fn rows(&self, etype: &str) -> &[Json] {
        self.data.get(etype).and_then(Json::as_array).map_or(&[], Vec::as_slice)
    }

    /// Where pages begin and end, `{"todos": {"startCursor", "endCursor", "hasNextPage",
    /// "hasPreviousPage"}}`; `None` unless the query asks for an order or a page.
    pub const fn page_info(&self) -> Option<&Json> {
        self.page_info.as_ref()
    }

    /// Counts, `{"todos": {"count": 4}}`; `None` unless the query asks for them.
    pub const fn aggregate(&self) -> Option<&Json> {
        self.aggregate.as_ref()
    }

    /// Whether the server gave this query's data.
    pub const fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Whether the server gave this query's data.
    pub fn is_complete(&self) -> bool {
        self.coverage == Coverage::Complete
    }

    /// The server's position that the data reflects; zero if it never gave any.
    pub const fn position(&self) -> TxId {
        self.position
    }

    /// Whether it shows no entity and no count.
    pub(crate) fn is_empty(&self) -> bool {
        let mut forms = self.data.as_object().into_iter().flatten();
        self.aggregate.is_none() && forms.all(|(_, rows)| rows.as_array().is_none_or(Vec::is_empty))
    }

    /// Whether the same is shown, whatever the position.
    pub(crate) fn shows_the_same(&self, other: &Self) -> bool {
        self.coverage == other.coverage
            && self.data == other.data
            && self.page_info == other.page_info
            && self.aggregate == other.aggregate
    }

    /// Evaluates a query on an index. `extra` is what the server said besides triples.
    pub(crate) fn evaluate(
        index: &TripleIndex,
        query: &Query,
        coverage: Coverage,
        position: TxId,
        extra: &Extra,
    ) -> Result<Self, QueryError> {
        let page_info = extra.page_info.as_ref();
        let mut options = EvalOptions::client();
        // Where an offset leads, only the server can tell; cursors tell it themselves, so that own rows
        // that the server has not placed yet show as well.
        if coverage == Coverage::Complete && query.has_offset() {
            options =
                options.with_windows(page_info.map_or_else(Windows::default, Windows::from_wire));
        }
        let result = evaluate(index, query, &options)?;
        let page_info = match page_info {
            Some(wire) => Some(for_users(wire, result.page_info(Spelling::Wire).as_ref())),
            None => result.page_info(Spelling::User),
        };
        Ok(Self {
            data: result.to_object(index, Inference::Singular),
            page_info,
            aggregate: extra.aggregate.clone().or_else(|| result.aggregate_json()),
            coverage,
            position,
        })
    }
}

/// Page info in the spelling of messages, as users read it. `local` is that of the rows shown: own rows that the
/// server does not have yet may be cut off by a limit.
fn for_users(wire: &Json, local: Option<&Json>) -> Json {
    let spelled = |etype: &str, info: &Json| {
        let beyond = |name: &str| {
            let more = |info: &Json| info.get(name).and_then(Json::as_bool);
            let here = local.and_then(|local| more(local.get(etype)?)).unwrap_or_default();
            more(info).unwrap_or_default() || here
        };
        let cursor = |name: &str| info.get(name).cloned().unwrap_or(Json::Null);
        json!({
            "startCursor": cursor("start-cursor"),
            "endCursor": cursor("end-cursor"),
            "hasNextPage": beyond("has-next-page?"),
            "hasPreviousPage": beyond("has-previous-page?"),
        })
    };
    let forms = wire.as_object().into_iter().flatten();
    let forms = forms.map(|(etype, info)| (etype.clone(), spelled(etype, info)));
    Json::Object(forms.collect())
}
