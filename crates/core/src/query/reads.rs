//! Which changes a query can feel.

use std::sync::Arc;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::form::{Condition, Form, Query};
use crate::attr::{Attr, Cardinality};
use crate::catalog::AttrCatalog;
use crate::id::AttrId;
use crate::tx::Commit;

/// What the result of a query depends on: attributes, and names that may come to mean one.
///
/// Wider than necessary, never narrower. After a commit that changes attributes it must be made anew.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    attrs: HashSet<AttrId, FxBuildHasher>,
    /// Namespaces all of whose one-valued attributes are returned.
    etypes: HashSet<Arc<str>, FxBuildHasher>,
    names: HashSet<(Arc<str>, Arc<str>), FxBuildHasher>,
}

impl Query {
    /// What the result depends on, given today's attributes.
    pub fn reads(&self, catalog: &AttrCatalog) -> ReadSet {
        let mut reads = Reads { catalog, set: ReadSet::default() };
        for form in self.forms() {
            reads.form(form, &form.label);
        }
        reads.set
    }
}

impl ReadSet {
    /// Whether a commit can have changed the result. The catalog is the one after the commit.
    pub fn touches(&self, commit: &Commit, catalog: &AttrCatalog) -> bool {
        commit.facts().any(|fact| self.reads(fact.attr, catalog))
            || commit
                .attrs()
                .flat_map(|change| change.old.iter().chain(&change.new))
                .any(|attr| self.names(attr))
    }

    /// Whether a commit changes the meaning of a name that the query uses, or what it returns: more than
    /// the types seen in values.
    pub fn replans(&self, commit: &Commit) -> bool {
        let changed = commit.attrs().filter(|change| change.is_material());
        changed.flat_map(|change| change.old.iter().chain(&change.new)).any(|attr| self.names(attr))
    }

    /// The attributes that are read.
    pub fn attrs(&self) -> impl Iterator<Item = AttrId> + '_ {
        self.attrs.iter().copied()
    }

    /// Whether an attribute is read.
    pub fn reads(&self, attr: AttrId, catalog: &AttrCatalog) -> bool {
        self.attrs.contains(&attr) || catalog.get(attr).is_some_and(|attr| self.returns(attr))
    }

    /// Whether an attribute made since belongs to what is returned.
    fn returns(&self, attr: &Attr) -> bool {
        attr.cardinality == Cardinality::One && self.etypes.contains(attr.etype())
    }

    fn names(&self, attr: &Attr) -> bool {
        self.attrs.contains(&attr.id)
            || self.returns(attr)
            || [Some(&attr.forward_identity), attr.reverse_identity.as_ref()]
                .into_iter()
                .flatten()
                .any(|name| self.names.contains(&(name.etype.clone(), name.label.clone())))
    }
}

struct Reads<'a> {
    catalog: &'a AttrCatalog,
    set: ReadSet,
}

impl<'a> Reads<'a> {
    fn form(&mut self, form: &Form, etype: &str) {
        self.name(etype, "id");
        if let Some(aggregate) = &form.options.aggregate {
            let keys = aggregate.by.iter().flatten();
            for label in keys.chain(aggregate.measures.iter().map(|(_, label)| label)) {
                self.name(etype, label);
            }
        }
        match &form.options.fields {
            None if form.options.aggregate.is_some() => {}
            None => {
                self.set.etypes.insert(etype.into());
                let returned = self.catalog.of_etype(etype);
                let returned = returned.filter(|attr| attr.cardinality == Cardinality::One);
                self.set.attrs.extend(returned.map(|attr| attr.id));
            }
            Some(fields) => {
                for label in fields {
                    self.name(etype, label);
                }
            }
        }
        if let Some((label, _)) = &form.options.order {
            self.name(etype, label);
        }
        for condition in &form.options.conditions {
            self.condition(condition, etype);
        }
        for child in &form.children {
            if let Some(leads_to) = self.name(etype, &child.label) {
                self.form(child, leads_to);
            }
        }
    }

    fn condition(&mut self, condition: &Condition, etype: &str) {
        match condition {
            Condition::IdPrefix(_) => {}
            Condition::All(conditions) | Condition::Any(conditions) => {
                conditions.iter().for_each(|condition| self.condition(condition, etype));
            }
            Condition::Path(path) => {
                let mut at: Option<Box<str>> = Some(etype.into());
                for label in &path.labels {
                    let Some(etype) = at.take() else { break };
                    // Whether something is missing is asked of entities that exist.
                    self.name(&etype, "id");
                    at = self.name(&etype, label).map(Into::into);
                }
            }
        }
    }

    /// Reads a name, and says where it leads if it is a link.
    fn name(&mut self, etype: &str, label: &str) -> Option<&'a str> {
        self.set.names.insert((etype.into(), label.into()));
        let named = self.catalog.find(etype, label)?;
        self.set.attrs.insert(named.attr.id);
        named.leads_to()
    }
}
