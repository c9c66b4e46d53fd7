//! What an app lacks of a schema.

use std::sync::Arc;

use hashbrown::HashSet;
use serde_json::{Map, Value as Json, json};

use super::{AttrDef, LinkDef, Schema, SchemaError, is_system_etype, system_attrs};
use crate::attr::{Attr, Catalog, CheckedType, Identity};
use crate::catalog::AttrCatalog;
use crate::id::{AttrId, IdSource, IdentId};
use crate::tx::TxStep;

/// One step from the attributes of an app to those of a schema.
#[derive(Clone, PartialEq, Debug)]
pub enum PlanStep {
    /// Make an attribute, with all its flags.
    AddAttr(Arc<Attr>),
    /// Change an attribute; the fields as an `update-attr` step carries them.
    UpdateAttr(AttrId, Map<String, Json>),
    /// Enforce another type, once all values are known to fit it.
    CheckDataType(Arc<Attr>, CheckedType),
    /// Enforce no type any more.
    RemoveDataType(Arc<Attr>),
}

impl PlanStep {
    /// The step as an answer to a schema plan shows it: `[kind, {...}]`.
    pub fn to_json(&self) -> Json {
        let job =
            |attr: &Attr| json!({ "attr-id": attr.id, "forward-identity": attr.forward_identity });
        match self {
            Self::AddAttr(attr) => json!(["add-attr", &**attr]),
            Self::UpdateAttr(_, fields) => json!(["update-attr", fields]),
            Self::CheckDataType(attr, checked) => {
                let mut body = job(attr);
                body["checked-data-type"] = json!(checked);
                json!(["check-data-type", body])
            }
            Self::RemoveDataType(attr) => json!(["remove-data-type", job(attr)]),
        }
    }
}

impl Schema {
    /// What has to be done to an app with these attributes: first an `id` for each new namespace, then
    /// data attributes, then links. Things that the schema leaves out stay; system attributes never change.
    ///
    /// # Errors
    /// A name used twice, a link that exists the other way round, a cascade on a side that has many, a
    /// reserved namespace, a required attribute of a system namespace.
    pub fn plan(
        &self,
        catalog: &AttrCatalog,
        ids: &mut dyn IdSource,
    ) -> Result<Vec<PlanStep>, SchemaError> {
        let mut planner = Planner::new(catalog, ids);
        for namespace in self.namespaces.iter().filter(|n| !n.attrs.is_empty()) {
            planner.namespace(&namespace.etype)?;
        }
        for namespace in &self.namespaces {
            for def in &namespace.attrs {
                planner.blob(&namespace.etype, def)?;
            }
        }
        for def in &self.links {
            planner.link(def)?;
        }
        Ok(planner.steps)
    }

    /// [`Self::plan`] as the steps of a transaction.
    ///
    /// # Errors
    /// Those of [`Self::plan`], and a type that differs from the one of an existing attribute: that
    /// takes a look at all its values, which no step does.
    pub fn to_attr_steps(
        &self,
        catalog: &AttrCatalog,
        ids: &mut dyn IdSource,
    ) -> Result<Vec<TxStep>, SchemaError> {
        let steps = self.plan(catalog, ids)?;
        let steps = steps.into_iter().map(|step| match step {
            PlanStep::AddAttr(attr) => Ok(TxStep::AddAttr(attr)),
            PlanStep::UpdateAttr(id, fields) => Ok(TxStep::UpdateAttr(id, fields)),
            PlanStep::CheckDataType(attr, _) | PlanStep::RemoveDataType(attr) => {
                Err(SchemaError::type_change(attr.etype(), attr.label()))
            }
        });
        steps.collect()
    }
}

struct Planner<'a> {
    catalog: &'a AttrCatalog,
    system: AttrCatalog,
    ids: &'a mut dyn IdSource,
    /// Names that the schema has defined so far.
    defined: HashSet<(Arc<str>, Arc<str>)>,
    steps: Vec<PlanStep>,
}

impl<'a> Planner<'a> {
    fn new(catalog: &'a AttrCatalog, ids: &'a mut dyn IdSource) -> Self {
        let mut system = AttrCatalog::default();
        for attr in system_attrs() {
            system.put(attr);
        }
        Self { catalog, system, ids, defined: HashSet::new(), steps: Vec::new() }
    }

    fn namespace(&mut self, etype: &Arc<str>) -> Result<(), SchemaError> {
        if is_system_etype(etype) || self.catalog.id_attr(etype).is_some() {
            return Ok(());
        }
        check_not_reserved(etype)?;
        let attr = Attr::blob(self.attr_id(), self.ident_id(), etype, "id");
        self.steps.push(PlanStep::AddAttr(Arc::new(attr)));
        Ok(())
    }

    fn blob(&mut self, etype: &Arc<str>, def: &AttrDef) -> Result<(), SchemaError> {
        self.define(etype, &def.label)?;
        if self.system.find(etype, &def.label).is_some_and(|named| !named.attr.is_ref()) {
            return Ok(());
        }
        match self.existing(etype, &def.label) {
            Some(attr) if attr.is_ref() => return Err(SchemaError::duplicate(etype, &def.label)),
            Some(attr) if attr.catalog == Catalog::System => return Ok(()),
            Some(attr) => self.change_blob(&attr, def),
            None => {
                check_not_reserved(etype)?;
                let mut attr = Attr::blob(self.attr_id(), self.ident_id(), etype, &def.label);
                attr.unique = def.unique;
                attr.indexed = def.indexed;
                attr.required = def.required;
                attr.checked_data_type = def.checked_type;
                self.steps.push(PlanStep::AddAttr(Arc::new(attr)));
            }
        }
        if def.required && is_system_etype(etype) {
            return Err(SchemaError::required_on_system(etype, &def.label));
        }
        Ok(())
    }

    fn change_blob(&mut self, attr: &Arc<Attr>, def: &AttrDef) {
        let same =
            (attr.unique, attr.indexed, attr.required) == (def.unique, def.indexed, def.required);
        if !same {
            let mut wanted = Attr::clone(attr);
            wanted.unique = def.unique;
            wanted.indexed = def.indexed;
            wanted.required = def.required;
            self.steps.push(PlanStep::UpdateAttr(attr.id, update_fields(&wanted)));
        }
        match (attr.checked_data_type, def.checked_type) {
            (have, want) if have == want => {}
            (_, Some(want)) => self.steps.push(PlanStep::CheckDataType(attr.clone(), want)),
            (_, None) => self.steps.push(PlanStep::RemoveDataType(attr.clone())),
        }
    }

    fn link(&mut self, def: &LinkDef) -> Result<(), SchemaError> {
        let (forward, reverse) = (&def.forward, &def.reverse);
        for side in [forward, reverse] {
            if side.cascade && side.has != crate::attr::Cardinality::One {
                return Err(SchemaError::cascade_on_many(&side.etype, &side.label));
            }
        }
        self.define(&forward.etype, &forward.label)?;
        self.define(&reverse.etype, &reverse.label)?;
        let known = self.existing(&forward.etype, &forward.label);
        if let Some(attr) = known.as_ref().filter(|attr| joins(attr, def)) {
            if attr.catalog == Catalog::User {
                self.change_link(attr, def);
            }
            return Ok(());
        }
        let swapped = LinkDef {
            name: def.name.clone(),
            forward: reverse.clone(),
            reverse: forward.clone(),
            required: false,
        };
        if known.is_some_and(|attr| joins(&attr, &swapped)) {
            return Err(SchemaError::other_way_round(&forward.etype, &forward.label));
        }
        for side in [forward, reverse] {
            if self.existing(&side.etype, &side.label).is_some() {
                return Err(SchemaError::duplicate(&side.etype, &side.label));
            }
            check_not_reserved(&side.etype)?;
        }
        if def.required && is_system_etype(&forward.etype) {
            return Err(SchemaError::required_on_system(&forward.etype, &forward.label));
        }
        let mut attr = Attr::link(
            self.attr_id(),
            Identity {
                id: self.ident_id(),
                etype: forward.etype.clone(),
                label: forward.label.clone(),
            },
            Identity {
                id: self.ident_id(),
                etype: reverse.etype.clone(),
                label: reverse.label.clone(),
            },
        );
        def.set_flags(&mut attr);
        self.steps.push(PlanStep::AddAttr(Arc::new(attr)));
        Ok(())
    }

    fn change_link(&mut self, attr: &Arc<Attr>, def: &LinkDef) {
        let mut wanted = Attr::clone(attr);
        def.set_flags(&mut wanted);
        if wanted != **attr {
            self.steps.push(PlanStep::UpdateAttr(attr.id, update_fields(&wanted)));
        }
    }

    /// Takes a name; each may be defined once.
    fn define(&mut self, etype: &Arc<str>, label: &Arc<str>) -> Result<(), SchemaError> {
        if self.defined.insert((etype.clone(), label.clone())) {
            Ok(())
        } else {
            Err(SchemaError::duplicate(etype, label))
        }
    }

    /// Who has a name already, from either side.
    fn existing(&self, etype: &str, label: &str) -> Option<Arc<Attr>> {
        let named = self.catalog.find(etype, label).or_else(|| self.system.find(etype, label))?;
        Some(named.attr.clone())
    }

    fn attr_id(&mut self) -> AttrId {
        AttrId::new(self.ids.next_uuid())
    }

    fn ident_id(&mut self) -> IdentId {
        IdentId::new(self.ids.next_uuid())
    }
}

/// Whether an attribute is the link between these two names, this way round.
pub(super) fn joins(attr: &Attr, def: &LinkDef) -> bool {
    let is = |identity: &Identity, etype: &str, label: &str| {
        *identity.etype == *etype && *identity.label == *label
    };
    attr.is_ref()
        && is(&attr.forward_identity, &def.forward.etype, &def.forward.label)
        && attr
            .reverse_identity
            .as_ref()
            .is_some_and(|reverse| is(reverse, &def.reverse.etype, &def.reverse.label))
}

/// The fields of an `update-attr` step. What a step leaves out stays, but for the cascades: so links always
/// name theirs.
fn update_fields(wanted: &Attr) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("id".into(), json!(wanted.id));
    fields.insert("forward-identity".into(), json!(wanted.forward_identity));
    fields.insert("value-type".into(), json!(wanted.value_type));
    fields.insert("cardinality".into(), json!(wanted.cardinality));
    fields.insert("unique?".into(), json!(wanted.unique));
    fields.insert("index?".into(), json!(wanted.indexed));
    fields.insert("required?".into(), json!(wanted.required));
    if wanted.is_ref() {
        fields.insert("reverse-identity".into(), json!(wanted.reverse_identity));
        fields.insert("on-delete".into(), json!(wanted.on_delete));
        fields.insert("on-delete-reverse".into(), json!(wanted.on_delete_reverse));
    }
    fields
}

fn check_not_reserved(etype: &str) -> Result<(), SchemaError> {
    if etype.starts_with('$') && !is_system_etype(etype) {
        return Err(SchemaError::reserved(etype));
    }
    Ok(())
}
