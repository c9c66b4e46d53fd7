//! Writing single facts as a server states them.

use rustc_hash::FxHashSet;
use tricedb_core::attr::{Attr, Cardinality};
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

/// A set of facts without their values.
pub(crate) type FactSet = FxHashSet<HeldFact>;

fn is_set(attr: &Attr) -> bool {
    attr.is_ref() && attr.cardinality == Cardinality::Many
}

/// Which fact a triple states; `None` for an attribute that is unknown, or a link to no entity.
pub(crate) fn fact_of(index: &TripleIndex, triple: &Triple) -> Option<HeldFact> {
    let attr = index.catalog().get(triple.attr)?;
    let target = if attr.is_ref() { Some(triple.value.as_entity()?) } else { None };
    let target = target.filter(|_| is_set(attr));
    Some(HeldFact { entity: triple.entity, attr: triple.attr, target })
}

/// The facts that triples state, each once.
pub(crate) fn facts_of(index: &TripleIndex, triples: &[Triple]) -> FactSet {
    triples.iter().filter_map(|triple| fact_of(index, triple)).collect()
}

/// The triple of a fact.
pub(crate) fn triple_of(index: &TripleIndex, fact: &HeldFact) -> Option<Triple> {
    let HeldFact { entity, attr, target } = *fact;
    let definition = index.catalog().get(attr)?;
    if definition.is_ref() {
        let wanted = |t| target.is_none_or(|target| target == t);
        let link = index.links(entity, attr).iter().find(|link| wanted(link.target))?;
        let value = Value::Ref(link.target);
        return Some(Triple { entity, attr, value, created_at: link.created_at });
    }
    let (row, slot) = (index.row(entity)?, index.slot(attr)?);
    let (value, created_at) = (row.value(slot)?.clone(), row.created_at(slot)?);
    Some(Triple { entity, attr, value, created_at })
}

/// Makes a fact hold, in the place of what was there. Returns whether that changed anything.
pub(crate) fn put_fact(index: &mut TripleIndex, triple: &Triple) -> bool {
    let Some(attr) = index.catalog().get(triple.attr).cloned() else { return false };
    let Some(fact) = fact_of(index, triple) else { return false };
    let before = triple_of(index, &fact);
    if let Some(before) = &before {
        let value = attr.coerce(triple.value.clone());
        if before.value == value && before.created_at == triple.created_at {
            return false;
        }
        if attr.is_ref() {
            index.remove(before.entity, before.attr, &before.value);
        }
    }
    index.insert(triple)
}

/// Makes a fact not hold. Returns whether it did.
pub(crate) fn drop_fact(index: &mut TripleIndex, fact: &HeldFact) -> bool {
    let Some(triple) = triple_of(index, fact) else { return false };
    index.remove(triple.entity, triple.attr, &triple.value);
    true
}
