//! A step of a schema change in a line for people.

use tricedb_core::attr::{Attr, Cardinality};
use tricedb_core::id::AttrId;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::{JobKind, SchemaStep};
use tricedb_core::tx::TxStep;

/// `+ posts.title  string, required`; `steps` are all steps, for those that concern new attributes.
pub(super) fn line(step: &SchemaStep, steps: &[SchemaStep], index: &TripleIndex) -> String {
    match step {
        SchemaStep::Attr(TxStep::AddAttr(attr)) => format!("+ {}", added(attr)),
        SchemaStep::Attr(TxStep::DeleteAttr(id)) => {
            format!("- {}  deleted; its id is {id}", name(step, index))
        }
        SchemaStep::Attr(TxStep::UpdateAttr(_, fields)) => {
            let old = name(step, index);
            let part = |at: usize| fields.get("forward-identity")?.get(at)?.as_str();
            match part(1).zip(part(2)).map(|(etype, label)| format!("{etype}.{label}")) {
                Some(new) if new != old => format!("~ {old}  renamed to {new}"),
                _ => format!("~ {old}  changed"),
            }
        }
        SchemaStep::Attr(_) => format!("~ {}", name(step, index)),
        SchemaStep::Job { kind, attr, .. } => {
            let made = steps.iter().find_map(|step| match step {
                SchemaStep::Attr(TxStep::AddAttr(new)) if new.id == *attr => Some(dotted(new)),
                _ => None,
            });
            format!("~ {}  {}", made.unwrap_or_else(|| name(step, index)), wish(*kind))
        }
    }
}

fn wish(kind: JobKind) -> String {
    match kind {
        JobKind::CheckDataType(checked) => format!("becomes a {}", checked.name()),
        JobKind::RemoveDataType => "may hold anything".into(),
        JobKind::Index => "becomes indexed".into(),
        JobKind::RemoveIndex => "is indexed no more".into(),
        JobKind::Unique => "becomes unique".into(),
        JobKind::RemoveUnique => "is unique no more".into(),
        JobKind::Required => "becomes required".into(),
        JobKind::RemoveRequired => "is required no more".into(),
    }
}

/// `namespace.label` of the attribute that a step concerns; its id if that is all there is.
pub(super) fn name(step: &SchemaStep, index: &TripleIndex) -> String {
    match step {
        SchemaStep::Attr(TxStep::AddAttr(attr)) => dotted(attr),
        SchemaStep::Attr(TxStep::UpdateAttr(id, _) | TxStep::DeleteAttr(id)) => known(*id, index),
        SchemaStep::Job { attr, forward_identity, .. } => match forward_identity {
            Some(name) => format!("{}.{}", name.etype, name.label),
            None => known(*attr, index),
        },
        SchemaStep::Attr(_) => String::new(),
    }
}

fn known(id: AttrId, index: &TripleIndex) -> String {
    index.catalog().get(id).map_or_else(|| id.to_string(), |attr| dotted(attr))
}

fn dotted(attr: &Attr) -> String {
    format!("{}.{}", attr.etype(), attr.label())
}

fn added(attr: &Attr) -> String {
    let mut words = Vec::new();
    if let (true, Some(reverse)) = (attr.is_ref(), &attr.reverse_identity) {
        let has = |is_one| if is_one { "one" } else { "many" };
        words.push(format!(
            "link to {} {} (back: {} {}.{})",
            has(attr.cardinality == Cardinality::One),
            reverse.etype,
            has(attr.unique),
            reverse.etype,
            reverse.label,
        ));
    } else if attr.is_id() {
        words.push("a new namespace".into());
    } else {
        words.push(attr.checked_data_type.map_or("anything", |checked| checked.name()).into());
        words.extend(attr.unique.then(|| "unique".into()));
    }
    words.extend(attr.indexed.then(|| "indexed".into()));
    words.extend(attr.required.then(|| "required".into()));
    format!("{}  {}", dotted(attr), words.join(", "))
}
