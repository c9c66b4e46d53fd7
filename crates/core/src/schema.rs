//! InstantDB's schema JSON and the attributes it stands for.
//!
//! [`parse`] reads a schema, [`Schema::plan`] and [`Schema::to_attr_steps`] say what an app lacks of it,
//! [`from_catalog`] writes the schema that an app has, and [`system_attrs`] are the attributes that every
//! app has from the start.

mod builder;
mod error;
mod job;
mod migrate;
mod parse;
mod plan;
mod pull;
mod serialize;
mod step;
mod system;

use std::sync::Arc;

use crate::attr::{Attr, Cardinality, CheckedType, OnDelete};

pub use builder::SchemaBuilder;
pub use error::SchemaError;
pub use job::{AttrJob, JobErrorKind, JobFailure, JobKind, JobProgress, Offender};
pub use migrate::Rename;
pub use parse::parse;
pub use plan::PlanStep;
pub use pull::from_catalog;
pub use step::{SchemaStep, in_background, parse_schema_steps};
pub use system::{hidden_system_attrs, is_system_etype, system_attrs};

/// A schema: the attributes and links that an app is to have. Additive: what it leaves out stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schema {
    /// The namespaces, in the order of the JSON.
    pub namespaces: Vec<Namespace>,
    /// The links, in the order of the JSON.
    pub links: Vec<LinkDef>,
}

/// A namespace of a [`Schema`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// The etype.
    pub etype: Arc<str>,
    /// Its data attributes, without `id`, which is implied.
    pub attrs: Vec<AttrDef>,
}

/// A data attribute of a [`Namespace`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttrDef {
    /// The name within the namespace.
    pub label: Arc<str>,
    /// The enforced type; none for `json` and `any`.
    pub checked_type: Option<CheckedType>,
    /// No two entities share a value.
    pub unique: bool,
    /// A value index serves comparison and order.
    pub indexed: bool,
    /// Every entity must have a value.
    pub required: bool,
}

/// A link of a [`Schema`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkDef {
    /// The name of the definition; says nothing about the data.
    pub name: Arc<str>,
    /// The side that holds the triples.
    pub forward: LinkSide,
    /// The other side.
    pub reverse: LinkSide,
    /// Every entity of the forward side must have the link.
    pub required: bool,
}

/// One side of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkSide {
    /// The namespace (`on`).
    pub etype: Arc<str>,
    /// The name of the link in that namespace.
    pub label: Arc<str>,
    /// How many entities of the other side one entity of this side has (`has`).
    pub has: Cardinality,
    /// Whether this side's entity is deleted when the one that it has is deleted.
    pub cascade: bool,
}

impl Schema {
    /// The definition of a data attribute.
    pub fn attr(&self, etype: &str, label: &str) -> Option<&AttrDef> {
        let namespace = self.namespaces.iter().find(|namespace| &*namespace.etype == etype)?;
        namespace.attrs.iter().find(|def| &*def.label == label)
    }

    /// The link that has this name on either side; names of the forward side come first.
    pub fn link(&self, etype: &str, label: &str) -> Option<&LinkDef> {
        let is = |side: &LinkSide| &*side.etype == etype && &*side.label == label;
        let mut links = self.links.iter();
        links.find(|def| is(&def.forward)).or_else(|| self.links.iter().find(|d| is(&d.reverse)))
    }
}

impl LinkDef {
    /// Gives an attribute the properties of this link.
    pub(crate) fn set_flags(&self, attr: &mut Attr) {
        let cascade = |on: bool| on.then_some(OnDelete::Cascade);
        attr.cardinality = self.forward.has;
        attr.unique = self.reverse.has == Cardinality::One;
        attr.required = self.required;
        attr.on_delete = cascade(self.forward.cascade);
        attr.on_delete_reverse = cascade(self.reverse.cascade);
    }
}

#[cfg(test)]
mod tests;
