//! The `#[entity(..)]` attributes.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, LitStr, Path, Result, spanned::Spanned};

/// What stands on the struct.
#[derive(Default)]
pub(crate) struct StructOptions {
    pub(crate) namespace: Option<LitStr>,
    pub(crate) krate: Option<Path>,
}

/// What stands on a field.
#[derive(Default)]
pub(crate) struct FieldOptions {
    pub(crate) id: bool,
    pub(crate) indexed: bool,
    pub(crate) unique: bool,
    pub(crate) optional: bool,
    pub(crate) checked: Option<Checked>,
    pub(crate) accessor: Option<syn::Ident>,
    pub(crate) link: Option<LinkOptions>,
    pub(crate) reverse_of: Option<LitStr>,
    /// The first of those that make no sense on a link.
    pub(crate) of_data: Option<proc_macro2::Span>,
}

/// What stands in `link(..)`.
#[derive(Default)]
pub(crate) struct LinkOptions {
    pub(crate) reverse: Option<LitStr>,
    pub(crate) reverse_has_one: bool,
    pub(crate) cascade: bool,
    pub(crate) cascade_reverse: bool,
}

/// The type that the schema enforces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checked {
    String,
    Number,
    Boolean,
    Date,
    Json,
}

fn each(
    attributes: &[Attribute],
    mut take: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("entity")) {
        attribute.parse_nested_meta(&mut take)?;
    }
    Ok(())
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    let text: LitStr = meta.value()?.parse()?;
    if text.value().trim().is_empty() {
        return Err(Error::new(text.span(), "a name must not be blank"));
    }
    Ok(text)
}

impl StructOptions {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("namespace") {
                options.namespace = Some(text(&meta)?);
            } else if meta.path.is_ident("crate") {
                options.krate = Some(text(&meta)?.parse()?);
            } else {
                return Err(meta.error(
                    "not known here: write `#[entity(namespace = \"..\")]` or `#[entity(crate = \"..\")]`",
                ));
            }
            Ok(())
        })?;
        Ok(options)
    }
}

impl FieldOptions {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        each(attributes, |meta| options.take(&meta))?;
        Ok(options)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |name| meta.path.is_ident(name);
        if is("indexed") || is("unique") || is("optional") || is("type") {
            self.of_data.get_or_insert(meta.path.span());
        }
        if is("id") {
            self.id = true;
        } else if is("indexed") {
            self.indexed = true;
        } else if is("unique") {
            self.unique = true;
        } else if is("optional") {
            self.optional = true;
        } else if is("type") {
            self.checked = Some(Checked::parse(&text(meta)?)?);
        } else if is("accessor") {
            self.accessor = Some(text(meta)?.parse()?);
        } else if is("reverse_of") {
            self.reverse_of = Some(text(meta)?);
        } else if is("link") {
            let mut link = LinkOptions::default();
            if meta.input.peek(syn::token::Paren) {
                meta.parse_nested_meta(|meta| link.take(&meta))?;
            }
            if link.reverse.is_none() {
                return Err(meta.error(
                    "a link has a name on its other side, too: write `#[entity(link(reverse = \"..\"))]`, or \
                     `#[entity(reverse_of = \"..\")]` if the linked type defines the link",
                ));
            }
            self.link = Some(link);
        } else {
            return Err(meta.error(
                "not known here: fields take `id`, `indexed`, `unique`, `optional`, `type = \"..\"`, \
                 `link(reverse = \"..\")`, `reverse_of = \"..\"` and `accessor = \"..\"`",
            ));
        }
        Ok(())
    }
}

impl LinkOptions {
    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |name| meta.path.is_ident(name);
        if is("reverse") {
            self.reverse = Some(text(meta)?);
        } else if is("reverse_has") {
            let has = text(meta)?;
            self.reverse_has_one = match has.value().as_str() {
                "one" => true,
                "many" => false,
                _ => return Err(Error::new(has.span(), "write `one` or `many`")),
            };
        } else if is("cascade") {
            self.cascade = true;
        } else if is("cascade_reverse") {
            self.cascade_reverse = true;
        } else {
            return Err(meta.error(
                "not known here: links take `reverse = \"..\"`, `reverse_has = \"one\"`, `cascade` and \
                 `cascade_reverse`",
            ));
        }
        Ok(())
    }
}

impl Checked {
    fn parse(text: &LitStr) -> Result<Self> {
        Ok(match text.value().as_str() {
            "string" => Self::String,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "json" | "any" => Self::Json,
            _ => {
                let message = "write `string`, `number`, `boolean`, `date` or `json`";
                return Err(Error::new(text.span(), message));
            }
        })
    }
}
