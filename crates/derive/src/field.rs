//! A field of an entity.

use syn::spanned::Spanned;
use syn::{Error, GenericArgument, Ident, PathArguments, Result, Type};

use crate::names::Case;
use crate::options::{Checked, FieldOptions, LinkOptions};
use crate::serde_options::{Default, SerdeField};

/// A field as the struct says it is.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The attribute's or link's name.
    pub(crate) label: String,
    /// The function that stands for it.
    pub(crate) accessor: Ident,
    pub(crate) default: Option<Default>,
    pub(crate) kind: Kind,
}

/// What a field is.
pub(crate) enum Kind {
    Id,
    Data(Data),
    /// A link that this type defines.
    Link(LinkOptions),
    /// A link that the linked type defines, under this name.
    Reverse(String),
    /// Not part of the entity.
    Skipped,
}

/// How a data attribute is stored.
pub(crate) struct Data {
    pub(crate) indexed: bool,
    pub(crate) unique: bool,
    pub(crate) optional: bool,
    /// Said by the field; otherwise the type says it.
    pub(crate) checked: Option<Checked>,
    pub(crate) serialize_with: Option<syn::ExprPath>,
    pub(crate) deserialize_with: Option<syn::ExprPath>,
}

impl Field {
    pub(crate) fn read(field: &syn::Field, rename_all: Option<Case>) -> Result<Self> {
        let Some(ident) = field.ident.clone() else {
            return Err(Error::new(field.span(), "the fields of an entity have names"));
        };
        let options = FieldOptions::read(&field.attrs)?;
        let serde = SerdeField::read(&field.attrs)?;
        let bare = ident.to_string();
        let bare = bare.strip_prefix("r#").unwrap_or(&bare);
        let label = match (&serde.rename, rename_all) {
            (Some(rename), _) => rename.value(),
            (None, Some(case)) => case.apply(bare),
            (None, None) => bare.to_owned(),
        };
        if label.contains('.') {
            return Err(Error::new(
                ident.span(),
                "an attribute's name holds no dot: paths are written with them",
            ));
        }
        let accessor = options.accessor.clone().unwrap_or_else(|| ident.clone());
        let kind = kind(&ident, bare, &label, options, &serde)?;
        Ok(Self { ident, ty: field.ty.clone(), label, accessor, default: serde.default, kind })
    }
}

fn kind(
    ident: &Ident,
    bare: &str,
    label: &str,
    options: FieldOptions,
    serde: &SerdeField,
) -> Result<Kind> {
    let wrong = |message: &str| Err(Error::new(ident.span(), message));
    if serde.skips {
        return Ok(Kind::Skipped);
    }
    let links = usize::from(options.link.is_some()) + usize::from(options.reverse_of.is_some());
    if options.id || bare == "id" {
        if links > 0 || options.of_data.is_some() {
            return wrong(
                "the id is unique and indexed by nature, and no link: leave its attributes out",
            );
        }
        return Ok(Kind::Id);
    }
    if label == "id" {
        return wrong("the name `id` is the entity's id: mark the field with `#[entity(id)]`");
    }
    if links > 1 {
        return wrong(
            "a link is defined by one of its sides: write `link(..)` or `reverse_of = \"..\"`",
        );
    }
    if links == 1 {
        if let Some(span) = options.of_data {
            return Err(Error::new(
                span,
                "this is for data, and the field is a link: its Rust type says the rest",
            ));
        }
        if serde.serialize_with.is_some() || serde.deserialize_with.is_some() {
            return wrong("links are read by the linked type: leave `with` out");
        }
    }
    Ok(match (options.link, options.reverse_of) {
        (Some(link), _) => Kind::Link(link),
        (_, Some(of)) => Kind::Reverse(of.value()),
        _ => Kind::Data(Data {
            indexed: options.indexed,
            unique: options.unique,
            optional: options.optional,
            checked: options.checked,
            serialize_with: serde.serialize_with.clone(),
            deserialize_with: serde.deserialize_with.clone(),
        }),
    })
}

/// What an `Option` holds, where a type is written as one.
pub(crate) fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(inside) => Some(inside),
        _ => None,
    }
}
