//! For whom a query is evaluated.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::form::{Cursor, cursor};
use crate::id::AttrId;
use crate::value::Value;

/// How a query is evaluated.
#[derive(Clone, Debug, Default)]
pub struct EvalOptions {
    /// Limits of nested forms count, per parent: native sessions and the client. Otherwise they are
    /// ignored and all children are given.
    pub nested_limits: bool,
    /// Aggregates are allowed.
    pub admin: bool,
    /// Operators and aggregates that the original does not have are understood. Where nothing is checked
    /// they always are.
    pub extensions: bool,
    /// The server's checks of attributes, operand types and indexes. Without them an unknown order
    /// attribute means creation time.
    pub check: bool,
    /// Collects the facts that made conditions true, which wire results need.
    pub evidence: bool,
    /// Pages that somebody else found; `None` to find them here.
    pub windows: Option<Windows>,
}

impl EvalOptions {
    /// For the socket of an official client, which applies nested limits by itself.
    pub fn socket() -> Self {
        Self { check: true, evidence: true, ..Self::default() }
    }

    /// For a native session: nested limits count, and extensions are understood.
    pub fn native() -> Self {
        Self { nested_limits: true, extensions: true, ..Self::socket() }
    }

    /// For the admin API, which ignores nested limits.
    pub fn admin_http() -> Self {
        Self { check: true, admin: true, ..Self::default() }
    }

    /// For a client's own facts.
    pub fn client() -> Self {
        Self { nested_limits: true, ..Self::default() }
    }

    /// Takes pages from the page info of a server: a form that does not begin at the first row shows
    /// what lies between the server's cursors, and nothing before these are known.
    #[must_use]
    pub fn with_windows(mut self, windows: Windows) -> Self {
        self.windows = Some(windows);
        self
    }
}

/// The pages of top-level forms as a server found them, by namespace. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Windows(Arc<HashMap<Box<str>, Window>>);

/// The first and last row of a page.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) start: Option<Cursor>,
    pub(super) end: Option<Cursor>,
}

impl Windows {
    /// Reads page info in the spelling of the wire; what is malformed counts as not known.
    pub fn from_wire(page_info: &Json) -> Self {
        let read = |json: Option<&Json>| {
            let [entity, attr, value, created_at] = json?.as_array()?.as_slice() else {
                return None;
            };
            let attr = AttrId::parse(attr.as_str()?)?;
            cursor(entity.as_str()?, attr, Value::from_json(value.clone()), created_at.as_i64()?)
        };
        let windows = page_info.as_object().into_iter().flatten().map(|(etype, info)| {
            let window =
                Window { start: read(info.get("start-cursor")), end: read(info.get("end-cursor")) };
            (etype.as_str().into(), window)
        });
        Self(Arc::new(windows.collect()))
    }

    pub(super) fn get(&self, etype: &str) -> Option<&Window> {
        self.0.get(etype)
    }
}
