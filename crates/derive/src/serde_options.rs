//! What serde's attributes say, as far as it matters here.

use syn::meta::ParseNestedMeta;
use syn::parse::Parse;
use syn::{Attribute, Error, Expr, ExprPath, LitStr, Result, Token};

use crate::names::Case;

/// Where a missing value comes from.
pub(crate) enum Default {
    Trait,
    Function(ExprPath),
}

/// What stands on a field.
#[derive(std::default::Default)]
pub(crate) struct SerdeField {
    /// The name in results, and when written.
    pub(crate) rename: Option<LitStr>,
    pub(crate) default: Option<Default>,
    pub(crate) skips: bool,
    pub(crate) serialize_with: Option<ExprPath>,
    pub(crate) deserialize_with: Option<ExprPath>,
}

/// What stands on the struct.
#[derive(std::default::Default)]
pub(crate) struct SerdeStruct {
    pub(crate) rename_all: Option<Case>,
    pub(crate) default: bool,
}

fn each(
    attributes: &[Attribute],
    mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            take(&meta)?;
            pass_over(&meta)
        })?;
    }
    Ok(())
}

/// Skips what was not taken: serde's own derives judge it.
fn pass_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|meta| pass_over(&meta))?;
    }
    Ok(())
}

fn path<T: Parse>(meta: &ParseNestedMeta<'_>) -> Result<T> {
    meta.value()?.parse::<LitStr>()?.parse()
}

/// A name that may be given for reading and writing apart, which must agree here.
fn name(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return Ok(Some(meta.value()?.parse()?));
    }
    let (mut read, mut written) = (None, None);
    meta.parse_nested_meta(|side| {
        let name: LitStr = side.value()?.parse()?;
        if side.path.is_ident("deserialize") {
            read = Some(name);
        } else {
            written = Some(name);
        }
        Ok(())
    })?;
    match (read, written) {
        (Some(read), Some(written)) if read.value() == written.value() => Ok(Some(read)),
        _ => Err(meta
            .error("an attribute has one name: give the same for `serialize` and `deserialize`")),
    }
}

impl SerdeStruct {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("rename_all")
                && let Some(text) = name(meta)?
            {
                let case = Case::parse(&text.value());
                let known = || Error::new(text.span(), format!("write one of {}", Case::NAMES));
                options.rename_all = Some(case.ok_or_else(known)?);
            } else if meta.path.is_ident("default") {
                if meta.input.peek(Token![=]) {
                    return Err(meta
                        .error("for entities, write `#[serde(default)]` and implement `Default`"));
                }
                options.default = true;
            } else if meta.path.is_ident("transparent") {
                return Err(meta.error("an entity is an object, which `transparent` hides"));
            }
            Ok(())
        })?;
        Ok(options)
    }
}

impl SerdeField {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        each(attributes, |meta| options.take(meta))?;
        Ok(options)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |name| meta.path.is_ident(name);
        if is("rename") {
            self.rename = name(meta)?;
        } else if is("default") {
            self.default = Some(if meta.input.peek(Token![=]) {
                Default::Function(path(meta)?)
            } else {
                Default::Trait
            });
        } else if is("skip") {
            self.skips = true;
        } else if is("skip_serializing") || is("skip_deserializing") {
            return Err(meta.error("an entity's field is both read and written, or `skip`ped"));
        } else if is("flatten") {
            return Err(meta.error(
                "attributes are fields of the entity itself: write them out, or store the struct as one value with \
                 `#[entity(type = \"json\")]`",
            ));
        } else if is("serialize_with") {
            self.serialize_with = Some(path(meta)?);
        } else if is("deserialize_with") {
            self.deserialize_with = Some(path(meta)?);
        } else if is("with") {
            let module: ExprPath = path(meta)?;
            let inside = |name: &str| {
                let mut path = module.clone();
                path.path
                    .segments
                    .push(syn::Ident::new(name, proc_macro2::Span::call_site()).into());
                path
            };
            self.serialize_with = Some(inside("serialize"));
            self.deserialize_with = Some(inside("deserialize"));
        }
        Ok(())
    }
}
