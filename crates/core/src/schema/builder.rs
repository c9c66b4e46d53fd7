//! Writing schemas in Rust.

use std::sync::Arc;

use super::{AttrDef, LinkDef, LinkSide, Namespace, Schema, SchemaError};
use crate::attr::{Cardinality, CheckedType};
use crate::entity::Entity;
use crate::schema::is_system_etype;

/// A schema in the making; from [`Schema::builder`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SchemaBuilder {
    schema: Schema,
    seen: Vec<Seen>,
}

/// A link as a type sees it from its other side.
#[derive(Clone, Debug)]
struct Seen {
    /// Where it is seen, and as what.
    side: LinkSide,
    /// The namespace that defines it, and the name there.
    forward: (Arc<str>, Arc<str>),
}

impl Schema {
    /// Starts a schema.
    ///
    /// ```
    /// use tricedb_core::schema::{AttrDef, LinkDef, LinkSide, Schema};
    ///
    /// let schema = Schema::builder()
    ///     .namespace("users", [AttrDef::string("email").unique()])
    ///     .namespace("posts", [AttrDef::string("title"), AttrDef::number("likes").indexed().optional()])
    ///     .link(LinkDef::new(LinkSide::one("posts", "author"), LinkSide::many("users", "posts")).required())
    ///     .build()?;
    /// assert_eq!(schema.to_json()["entities"]["posts"]["attrs"]["title"]["valueType"], "string");
    /// # Ok::<_, tricedb_core::schema::SchemaError>(())
    /// ```
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder::default()
    }
}

impl SchemaBuilder {
    /// Adds a namespace with its data attributes; `id` is implied.
    pub fn namespace(
        mut self,
        etype: impl Into<Arc<str>>,
        attrs: impl IntoIterator<Item = AttrDef>,
    ) -> Self {
        let namespace = Namespace { etype: etype.into(), attrs: attrs.into_iter().collect() };
        self.schema.namespaces.push(namespace);
        self
    }

    /// Adds a link between two namespaces.
    pub fn link(mut self, link: LinkDef) -> Self {
        self.schema.links.push(link);
        self
    }

    /// Adds the namespace and links of a type.
    pub fn entity<E: Entity>(self) -> Self {
        E::define(self)
    }

    /// Notes how a type sees a link that another defines, so that [`Self::build`] finds out if they disagree.
    pub fn sees_link(mut self, side: LinkSide, etype: &str, label: &str) -> Self {
        self.seen.push(Seen { side, forward: (etype.into(), label.into()) });
        self
    }

    /// The schema.
    ///
    /// # Errors
    /// A namespace, attribute or link that is defined twice; a link to a namespace that is not part of the
    /// schema; a link that two types see differently.
    pub fn build(self) -> Result<Schema, SchemaError> {
        let Self { schema, seen } = self;
        let mut names = hashbrown::HashSet::new();
        for Namespace { etype, attrs } in &schema.namespaces {
            if !names.insert((etype.clone(), "id".into())) {
                return Err(SchemaError::plain(format!(
                    "the namespace `{etype}` is defined twice"
                )));
            }
            let mut attrs = attrs.iter();
            if let Some(attr) =
                attrs.find(|attr| !names.insert((etype.clone(), attr.label.clone())))
            {
                return Err(SchemaError::duplicate(etype, &attr.label));
            }
        }
        for LinkDef { forward, reverse, .. } in &schema.links {
            for side in [forward, reverse] {
                if !names.insert((side.etype.clone(), side.label.clone())) {
                    return Err(SchemaError::duplicate(&side.etype, &side.label));
                }
                let known = schema.namespaces.iter().any(|known| known.etype == side.etype);
                if !known && !is_system_etype(&side.etype) {
                    return Err(SchemaError::plain(format!(
                        "the link `{}` of `{}` leads to `{}`, which is not part of the schema",
                        forward.label, forward.etype, reverse.etype
                    )));
                }
            }
        }
        for Seen { side, forward: (etype, label) } in &seen {
            let is = |def: &&LinkDef| def.forward.etype == *etype && def.forward.label == *label;
            let told = |what: String| {
                Err(SchemaError::plain(format!("`{}` of `{}` {what}", side.label, side.etype)))
            };
            let Some(def) = schema.links.iter().find(is) else {
                return told(format!(
                    "is the other side of `{label}` of `{etype}`, which does not exist"
                ));
            };
            let there = &def.reverse;
            if (&there.etype, &there.label) != (&side.etype, &side.label) {
                return told(format!(
                    "is the other side of `{label}` of `{etype}`, which calls it `{}` of `{}`",
                    there.label, there.etype
                ));
            }
            if there.has != side.has {
                let has = |has| if has == Cardinality::One { "one" } else { "many" };
                return told(format!(
                    "links to {} by its type, and to {} by `{label}` of `{etype}`: say `reverse_has` there",
                    has(side.has),
                    has(there.has)
                ));
            }
        }
        Ok(schema)
    }
}

impl AttrDef {
    /// A required attribute whose type is enforced, if there is one.
    pub fn new(label: impl Into<Arc<str>>, checked_type: Option<CheckedType>) -> Self {
        let label = label.into();
        Self { label, checked_type, unique: false, indexed: false, required: true }
    }

    /// Text.
    pub fn string(label: impl Into<Arc<str>>) -> Self {
        Self::new(label, Some(CheckedType::String))
    }

    /// Numbers.
    pub fn number(label: impl Into<Arc<str>>) -> Self {
        Self::new(label, Some(CheckedType::Number))
    }

    /// True or false.
    pub fn boolean(label: impl Into<Arc<str>>) -> Self {
        Self::new(label, Some(CheckedType::Boolean))
    }

    /// Instants.
    pub fn date(label: impl Into<Arc<str>>) -> Self {
        Self::new(label, Some(CheckedType::Date))
    }

    /// Any JSON.
    pub fn json(label: impl Into<Arc<str>>) -> Self {
        Self::new(label, None)
    }

    /// Serves comparison and order by an index.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.indexed = true;
        self
    }

    /// No two entities share a value; entities can be looked up by it.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Entities may lack it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// Another enforced type; none for any JSON.
    #[must_use]
    pub fn checked(mut self, checked_type: Option<CheckedType>) -> Self {
        self.checked_type = checked_type;
        self
    }
}

impl LinkDef {
    /// A link between two sides; the first holds it.
    pub fn new(forward: LinkSide, reverse: LinkSide) -> Self {
        let mut name = forward.etype.to_string();
        let mut letters = forward.label.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
        Self { name: name.into(), forward, reverse, required: false }
    }

    /// Every entity of the first side must have the link.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

impl LinkSide {
    /// Entities of `etype` have under `label` at most one entity of the other side.
    pub fn one(etype: impl Into<Arc<str>>, label: impl Into<Arc<str>>) -> Self {
        Self::new(etype, label, Cardinality::One)
    }

    /// Entities of `etype` have under `label` any number of entities of the other side.
    pub fn many(etype: impl Into<Arc<str>>, label: impl Into<Arc<str>>) -> Self {
        Self::new(etype, label, Cardinality::Many)
    }

    /// Entities of `etype` have so many entities of the other side under `label`.
    pub fn new(etype: impl Into<Arc<str>>, label: impl Into<Arc<str>>, has: Cardinality) -> Self {
        Self { etype: etype.into(), label: label.into(), has, cascade: false }
    }

    /// An entity of this side is deleted with the one that it has.
    #[must_use]
    pub fn cascade(mut self) -> Self {
        self.cascade = true;
        self
    }
}
