//! From what an app has to exactly what a schema says: with renames, and with deletes.

use std::str::FromStr;
use std::sync::Arc;

use hashbrown::HashSet;
use serde_json::{Map, Value as Json, json};

use super::plan::joins;
use super::{Schema, SchemaError, SchemaStep, in_background};
use crate::attr::{Attr, Catalog, Identity};
use crate::catalog::{AttrCatalog, Direction};
use crate::id::{AttrId, IdSource};
use crate::tx::TxStep;

/// The wish to keep an attribute's values under another name; reads as `posts.title:posts.heading`, and
/// for a link either of its names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rename {
    from: Name,
    to: Name,
}

/// The namespace and the label.
type Name = (Arc<str>, Arc<str>);

impl std::fmt::Display for Rename {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        write!(f, "{}.{}:{}.{}", from.0, from.1, to.0, to.1)
    }
}

impl FromStr for Rename {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let name = |text: &str| -> Option<Name> {
            let (etype, label) = text.split_once('.')?;
            let is_name = |part: &str| !part.trim().is_empty() && !part.contains('.');
            (is_name(etype) && is_name(label)).then(|| (etype.trim().into(), label.trim().into()))
        };
        text.split_once(':')
            .and_then(|(from, to)| Some(Self { from: name(from)?, to: name(to)? }))
            .ok_or_else(|| refuse(text, "It has to look like `posts.title:posts.heading`."))
    }
}

fn refuse(rename: &str, why: &str) -> SchemaError {
    SchemaError::plain(format!("Invalid rename command: {rename}. {why}"))
}

impl Schema {
    /// What makes an app with these attributes have this schema and nothing else: renames, then deletes of
    /// what the schema leaves out (soft: see [`TxStep::RestoreAttr`]), then what [`Self::plan`] says, with
    /// jobs for changes that values have a say in. The system's attributes stay.
    ///
    /// # Errors
    /// Those of [`Self::plan`], and a rename of what is not there, to what is there, or to what the schema
    /// does not name.
    pub fn overwrite(
        &self,
        catalog: &AttrCatalog,
        renames: &[Rename],
        ids: &mut dyn IdSource,
    ) -> Result<Vec<SchemaStep>, SchemaError> {
        let mut wanted = catalog.clone();
        let mut renamed = Vec::new();
        for rename in renames {
            let id = self.rename(&mut wanted, rename)?;
            renamed.retain(|(known, _)| *known != id);
            renamed.push((id, rename));
        }
        let mut steps = Vec::new();
        for id in self.left_out(&wanted) {
            wanted.remove(id);
            steps.push(SchemaStep::Attr(TxStep::DeleteAttr(id)));
        }
        for (id, rename) in renamed {
            let Some(attr) = wanted.get(id) else {
                let why = "The schema gives the new name to something else.";
                return Err(refuse(&rename.to_string(), why));
            };
            steps.push(SchemaStep::Attr(TxStep::UpdateAttr(id, names(attr))));
        }
        steps.extend(in_background(self.plan(&wanted, ids)?, &wanted));
        Ok(steps)
    }

    /// Gives an attribute its new name in the catalog; its id.
    fn rename(&self, catalog: &mut AttrCatalog, rename: &Rename) -> Result<AttrId, SchemaError> {
        let Rename { from, to } = rename;
        let refuse = |why: &str| Err(refuse(&rename.to_string(), why));
        let Some(named) = catalog.find(&from.0, &from.1) else {
            return refuse("There is no attribute with the old name.");
        };
        let (mut attr, direction) = (Attr::clone(named.attr), named.direction);
        if attr.catalog == Catalog::System || attr.is_id() {
            return refuse("This attribute is not the app's own.");
        }
        if from.0 != to.0 {
            return refuse("An attribute stays in its namespace.");
        }
        if catalog.find(&to.0, &to.1).is_some_and(|taken| taken.attr.id != attr.id) {
            return refuse("An attribute with the new name exists.");
        }
        let is_ref = attr.is_ref();
        let is_named = match attr.reverse_identity.as_mut().filter(|_| is_ref) {
            None => {
                attr.forward_identity.label = to.1.clone();
                self.attr_names().any(|name| name == *to)
            }
            Some(reverse) => self.rename_link(&mut attr.forward_identity, reverse, direction, to),
        };
        if !is_named {
            return refuse("The schema does not have the new name.");
        }
        let id = attr.id;
        catalog.put(Arc::new(attr));
        Ok(id)
    }

    /// Gives both sides of a link the names of the definition that has the new name on one of them.
    fn rename_link(
        &self,
        forward: &mut Identity,
        reverse: &mut Identity,
        direction: Direction,
        to: &Name,
    ) -> bool {
        let def = self.links.iter().find(|def| {
            let side = match direction {
                Direction::Forward => &def.forward,
                Direction::Reverse => &def.reverse,
            };
            (&side.etype, &side.label) == (&to.0, &to.1)
                && (&def.forward.etype, &def.reverse.etype) == (&forward.etype, &reverse.etype)
        });
        let Some(def) = def else { return false };
        forward.label = def.forward.label.clone();
        reverse.label = def.reverse.label.clone();
        true
    }

    fn attr_names(&self) -> impl Iterator<Item = Name> {
        self.namespaces
            .iter()
            .flat_map(|space| space.attrs.iter().map(|a| (space.etype.clone(), a.label.clone())))
    }

    /// The app's own attributes that the schema does not have, links first.
    fn left_out(&self, catalog: &AttrCatalog) -> Vec<AttrId> {
        let mut attrs: Vec<_> =
            catalog.live_sorted().into_iter().filter(|attr| self.is_left_out(attr)).collect();
        attrs.sort_by_key(|attr| {
            (!attr.is_ref(), attr.is_id(), attr.forward_identity.etype.clone(), attr.id)
        });
        attrs.iter().map(|attr| attr.id).collect()
    }

    fn is_left_out(&self, attr: &Attr) -> bool {
        if attr.catalog == Catalog::System {
            return false;
        }
        if attr.is_ref() {
            return !self.links.iter().any(|def| joins(attr, def));
        }
        let is_here = |etype: &str| etype == attr.etype();
        if attr.is_id() {
            let spaces: HashSet<&str> = self
                .namespaces
                .iter()
                .map(|space| &*space.etype)
                .chain(self.links.iter().flat_map(|l| [&*l.forward.etype, &*l.reverse.etype]))
                .collect();
            return !spaces.contains(attr.etype());
        }
        !self
            .namespaces
            .iter()
            .filter(|space| is_here(&space.etype))
            .any(|space| space.attrs.iter().any(|def| *def.label == *attr.label()))
    }
}

/// The fields of an `update-attr` that gives an attribute its names; cascades are named to keep them.
fn names(attr: &Attr) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("id".into(), json!(attr.id));
    fields.insert("forward-identity".into(), json!(attr.forward_identity));
    if attr.is_ref() {
        fields.insert("reverse-identity".into(), json!(attr.reverse_identity));
        fields.insert("on-delete".into(), json!(attr.on_delete));
        fields.insert("on-delete-reverse".into(), json!(attr.on_delete_reverse));
    }
    fields
}

#[cfg(test)]
mod tests;
