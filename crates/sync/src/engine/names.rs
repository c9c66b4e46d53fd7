//! Attributes by name: the server's, and those that pending transactions make.

use std::sync::Arc;

use tricedb_core::attr::Attr;
use tricedb_core::id::IdSource;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::{Schema, system_attrs};
use tricedb_core::tx::{
    Dialect, ExpandOptions, MissingAttrs, Operation, TxError, TxStep, expand_with,
};

/// Expands operations. Attributes that a transaction invented keep their ids until the server turns out to
/// have one of the same name; then the server's takes its place.
#[derive(Debug)]
pub(crate) struct Names {
    server: Vec<Arc<Attr>>,
    /// No facts; the server's attributes.
    blank: TripleIndex,
    /// No facts; the server's attributes and the invented ones.
    all: TripleIndex,
    /// What attributes are made like, and which may be made; any without one.
    schema: Option<Arc<Schema>>,
}

impl Names {
    /// Begins with what is known of the server; a client that never met one knows the system's attributes.
    pub(crate) fn new(server: Vec<Arc<Attr>>, schema: Option<Arc<Schema>>) -> Self {
        let server = if server.is_empty() { system_attrs() } else { server };
        let mut blank = TripleIndex::new();
        for attr in &server {
            blank.put_attr(attr.clone());
        }
        Self { all: blank.clone(), server, blank, schema }
    }

    /// The program's schema.
    pub(crate) fn schema(&self) -> Option<Arc<Schema>> {
        self.schema.clone()
    }

    /// Takes the same attributes with other types seen in values.
    pub(crate) fn note_types(&mut self, server: Vec<Arc<Attr>>) {
        for attr in &server {
            self.blank.put_attr(attr.clone());
            self.all.put_attr(attr.clone());
        }
        self.server = server;
    }

    /// The server's attributes.
    pub(crate) fn server(&self) -> &[Arc<Attr>] {
        &self.server
    }

    /// An index without facts that knows the server's attributes.
    pub(crate) const fn blank(&self) -> &TripleIndex {
        &self.blank
    }

    /// Expands operations that were never expanded before.
    pub(crate) fn expand(
        &mut self,
        operations: &[Operation],
        ids: &mut dyn IdSource,
    ) -> Result<Vec<TxStep>, TxError> {
        self.expand_again(operations, &[], ids)
    }

    /// Expands operations whose earlier expansion is known: what that invented is kept where the server
    /// still has no such name.
    pub(crate) fn expand_again(
        &mut self,
        operations: &[Operation],
        before: &[TxStep],
        ids: &mut dyn IdSource,
    ) -> Result<Vec<TxStep>, TxError> {
        let catalog = self.all.catalog();
        let is_new = |attr: &Attr| {
            let names = [Some(&attr.forward_identity), attr.reverse_identity.as_ref()];
            names.into_iter().flatten().all(|n| catalog.find(&n.etype, &n.label).is_none())
        };
        let kept: Vec<Arc<Attr>> = before
            .iter()
            .filter_map(|step| match step {
                TxStep::AddAttr(attr) if is_new(attr) => Some(attr.clone()),
                _ => None,
            })
            .collect();
        for attr in &kept {
            self.all.put_attr(attr.clone());
        }
        let mut steps: Vec<TxStep> = kept.into_iter().map(TxStep::AddAttr).collect();
        // Modes were decided when the transaction was queued.
        let known = |_: &str, _: &_| false;
        let options = ExpandOptions {
            missing: MissingAttrs::Create,
            dialect: Dialect::Client,
            schema: self.schema.as_deref(),
        };
        steps.extend(expand_with(operations, self.all.catalog(), &known, &options, ids)?);
        for step in &steps {
            if let TxStep::AddAttr(attr) = step {
                self.all.put_attr(attr.clone());
            }
        }
        Ok(steps)
    }
}
