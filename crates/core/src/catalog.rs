//! The attributes of an app, found by id and by name.

use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::attr::{Attr, Cardinality, Identity};
use crate::id::AttrId;

/// Which way a name leads along an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// From the entity that holds the triple.
    Forward,
    /// From the target of a link.
    Reverse,
}

/// An attribute found by name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The attribute.
    pub attr: &'a Arc<Attr>,
    /// Whether the name is its forward or its reverse identity.
    pub direction: Direction,
}

impl<'a> Named<'a> {
    /// Whether a link seen this way has at most one target.
    pub fn is_singular(&self) -> bool {
        match self.direction {
            Direction::Forward => self.attr.cardinality == Cardinality::One,
            Direction::Reverse => self.attr.unique,
        }
    }

    /// For links, the namespace that this way leads to.
    pub fn leads_to(&self) -> Option<&'a str> {
        match self.direction {
            Direction::Forward => self.attr.target_etype(),
            Direction::Reverse => self.attr.is_ref().then(|| self.attr.etype()),
        }
    }
}

/// All attributes of an app, soft-deleted ones included (found by id only, since their names are free).
#[derive(Clone, Default, Debug)]
pub struct AttrCatalog {
    by_id: HashMap<AttrId, Arc<Attr>, FxBuildHasher>,
    forward: HashMap<Arc<str>, HashMap<Arc<str>, AttrId, FxBuildHasher>, FxBuildHasher>,
    reverse: HashMap<Arc<str>, HashMap<Arc<str>, AttrId, FxBuildHasher>, FxBuildHasher>,
}

impl AttrCatalog {
    /// The attribute with this id, deleted or not.
    pub fn get(&self, id: AttrId) -> Option<&Arc<Attr>> {
        self.by_id.get(&id)
    }

    /// The attribute with this id unless it is soft-deleted.
    pub fn live(&self, id: AttrId) -> Option<&Arc<Attr>> {
        self.by_id.get(&id).filter(|a| !a.is_deleted())
    }

    /// The attribute whose forward identity this is.
    pub fn forward(&self, etype: &str, label: &str) -> Option<&Arc<Attr>> {
        self.get(*self.forward.get(etype)?.get(label)?)
    }

    /// The link whose reverse identity this is.
    pub fn reverse(&self, etype: &str, label: &str) -> Option<&Arc<Attr>> {
        self.get(*self.reverse.get(etype)?.get(label)?)
    }

    /// Finds a name, first among forward identities, then among reverse ones.
    pub fn find(&self, etype: &str, label: &str) -> Option<Named<'_>> {
        self.forward(etype, label)
            .map(|attr| Named { attr, direction: Direction::Forward })
            .or_else(|| {
                self.reverse(etype, label).map(|attr| Named { attr, direction: Direction::Reverse })
            })
    }

    /// The `id` attribute of a namespace: what makes its entities exist.
    pub fn id_attr(&self, etype: &str) -> Option<&Arc<Attr>> {
        self.forward(etype, "id")
    }

    /// The live attributes whose forward namespace this is, in no particular order.
    pub fn of_etype(&self, etype: &str) -> impl Iterator<Item = &Arc<Attr>> {
        self.forward
            .get(etype)
            .into_iter()
            .flat_map(|labels| labels.values().filter_map(|id| self.get(*id)))
    }

    /// The live links whose reverse namespace this is, in no particular order.
    pub fn into_etype(&self, etype: &str) -> impl Iterator<Item = &Arc<Attr>> {
        self.reverse
            .get(etype)
            .into_iter()
            .flat_map(|labels| labels.values().filter_map(|id| self.get(*id)))
    }

    /// Whether any live attribute belongs to this namespace.
    pub fn has_etype(&self, etype: &str) -> bool {
        self.forward.get(etype).is_some_and(|labels| !labels.is_empty())
    }

    /// The live namespaces, in no particular order.
    pub fn etypes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.forward.iter().filter(|(_, labels)| !labels.is_empty()).map(|(etype, _)| etype)
    }

    /// Every attribute, soft-deleted ones included, in no particular order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Attr>> {
        self.by_id.values()
    }

    /// The live attributes sorted by id: the list that `init-ok` and `refresh-ok` carry.
    pub fn live_sorted(&self) -> Vec<Arc<Attr>> {
        let mut attrs: Vec<_> = self.all().filter(|a| !a.is_deleted()).cloned().collect();
        attrs.sort_by_key(|a| a.id);
        attrs
    }

    /// Number of attributes, soft-deleted ones included.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Adds an attribute or replaces the one with its id.
    pub(crate) fn put(&mut self, attr: Arc<Attr>) {
        self.remove(attr.id);
        if !attr.is_deleted() {
            let name = |identity: &Identity| (identity.etype.clone(), identity.label.clone());
            let (etype, label) = name(&attr.forward_identity);
            self.forward.entry(etype).or_default().insert(label, attr.id);
            // Old `id` attributes may carry a reverse identity; it names nothing.
            if let (true, Some(reverse)) = (attr.is_ref(), &attr.reverse_identity) {
                let (etype, label) = name(reverse);
                self.reverse.entry(etype).or_default().insert(label, attr.id);
            }
        }
        self.by_id.insert(attr.id, attr);
    }

    /// Removes an attribute and its names.
    pub(crate) fn remove(&mut self, id: AttrId) -> Option<Arc<Attr>> {
        let old = self.by_id.remove(&id)?;
        let unname = |names: &mut HashMap<Arc<str>, HashMap<Arc<str>, AttrId, _>, _>,
                      identity: &Identity| {
            if let Some(labels) = names.get_mut(&identity.etype) {
                if labels.get(&identity.label) == Some(&id) {
                    labels.remove(&identity.label);
                }
                if labels.is_empty() {
                    names.remove(&identity.etype);
                }
            }
        };
        unname(&mut self.forward, &old.forward_identity);
        if let Some(reverse) = &old.reverse_identity {
            unname(&mut self.reverse, reverse);
        }
        Some(old)
    }
}
