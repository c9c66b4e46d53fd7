//! The struct.

use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Ident, Path, Result, Visibility};

use crate::field::{Field, Kind};
use crate::names;
use crate::options::StructOptions;
use crate::serde_options::SerdeStruct;

/// The struct as it says it is.
pub(crate) struct Container {
    pub(crate) ident: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) namespace: String,
    pub(crate) krate: Path,
    /// What is missing comes from the struct's own default.
    pub(crate) default: bool,
    pub(crate) fields: Vec<Field>,
    /// The place of the id among them.
    pub(crate) id: usize,
}

impl Container {
    pub(crate) fn read(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.ident.span(), "an entity is a struct"));
        };
        let Fields::Named(named) = &data.fields else {
            return Err(Error::new(data.fields.span(), "the fields of an entity have names"));
        };
        if !input.generics.params.is_empty() {
            let message = "an entity has no type parameters or lifetimes: it owns its values";
            return Err(Error::new(input.generics.span(), message));
        }
        let options = StructOptions::read(&input.attrs)?;
        let serde = SerdeStruct::read(&input.attrs)?;
        let mut fields: Vec<Field> = Vec::new();
        let mut errors: Option<Error> = None;
        for field in &named.named {
            match Field::read(field, serde.rename_all) {
                Ok(field) => fields.push(field),
                Err(error) => match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                },
            }
        }
        if let Some(errors) = errors {
            return Err(errors);
        }
        for (place, field) in fields.iter().enumerate() {
            let is_same = |other: &&Field| other.label == field.label && other.is_stored();
            if field.is_stored() && fields[..place].iter().any(|other| is_same(&other)) {
                let message = format!("the name `{}` is taken by another field", field.label);
                return Err(Error::new(field.ident.span(), message));
            }
        }
        let mut ids = fields.iter().enumerate().filter(|(_, field)| matches!(field.kind, Kind::Id));
        let Some((id, _)) = ids.next() else {
            let message =
                "an entity has an id: add a field `id: EntityId`, or mark one with `#[entity(id)]`";
            return Err(Error::new(input.ident.span(), message));
        };
        if let Some((_, second)) = ids.next() {
            return Err(Error::new(second.ident.span(), "an entity has one id"));
        }
        let namespace = match options.namespace {
            Some(text) => text.value(),
            None => names::namespace(&input.ident.to_string()),
        };
        Ok(Self {
            ident: input.ident.clone(),
            visibility: input.vis.clone(),
            namespace,
            krate: options.krate.unwrap_or_else(|| syn::parse_quote!(::tricedb)),
            default: serde.default,
            fields,
            id,
        })
    }
}

impl Field {
    const fn is_stored(&self) -> bool {
        !matches!(self.kind, Kind::Skipped)
    }
}
