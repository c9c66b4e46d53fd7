//! Attributes that a client proposes: one that exists under the same name takes their place.

use std::collections::BTreeMap;

use tricedb_core::catalog::AttrCatalog;
use tricedb_core::id::AttrId;
use tricedb_core::tx::{TxStep, rename_attrs};

/// Proposed attributes and those that exist in their place.
pub(super) type Known = BTreeMap<AttrId, AttrId>;

/// Replaces proposed attributes that exist already, by namespace and label, throughout the steps. What
/// contradicts an existing one stays, and will be refused.
pub(super) fn resolve(steps: &mut Vec<TxStep>, catalog: &AttrCatalog) -> Known {
    let mut known = Known::new();
    steps.retain(|step| {
        let TxStep::AddAttr(proposed) = step else { return true };
        let name = &proposed.forward_identity;
        let Some(existing) = catalog.forward(&name.etype, &name.label) else { return true };
        let reverse = |attr: &tricedb_core::attr::Attr| {
            attr.reverse_identity.as_ref().map(|name| (name.etype.clone(), name.label.clone()))
        };
        let is_same = existing.value_type == proposed.value_type
            && (!proposed.is_ref() || reverse(existing) == reverse(proposed));
        if !is_same {
            return true;
        }
        if existing.id != proposed.id {
            known.insert(proposed.id, existing.id);
        }
        // The same one again is no change either.
        false
    });
    if !known.is_empty() {
        rename_attrs(steps, &|attr| known.get(&attr).copied());
    }
    known
}
