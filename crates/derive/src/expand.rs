//! The code that is made.

use proc_macro2::TokenStream;
use quote::quote;

use crate::container::Container;
use crate::field::{Data, Field, Kind, inside_option};
use crate::options::{Checked, LinkOptions};
use crate::serde_options::Default;

/// Everything that `#[derive(Entity)]` makes of a struct.
pub(crate) fn expand(container: &Container) -> TokenStream {
    let Container { ident, namespace, krate, fields, .. } = container;
    let id = &fields[container.id].ident;
    let values = fields.iter().map(|field| read(container, field));
    let base = container.default.then(|| {
        quote! {
            #[allow(unused_variables)]
            let base: Self = ::core::default::Default::default();
        }
    });
    let names = fields.iter().map(|field| &field.ident);
    let writes = fields.iter().map(|field| write(krate, field));
    let count = fields.iter().filter(|field| matches!(field.kind, Kind::Data(_))).count();
    let attrs = fields.iter().map(|field| attr(container, field));
    let links = fields.iter().map(|field| link_def(container, field));
    let accessors = fields.iter().map(|field| accessor(container, field));
    quote! {
        #[automatically_derived]
        impl #krate::entity::Entity for #ident {
            const NAMESPACE: &'static str = #namespace;

            fn entity_id(&self) -> #krate::entity::made::EntityId {
                ::core::convert::Into::into(::core::clone::Clone::clone(&self.#id))
            }

            fn from_row(
                row: &#krate::entity::made::Json,
            ) -> ::core::result::Result<Self, #krate::entity::RowError> {
                let row = #krate::entity::RowReader::new(#namespace, row)?;
                #base
                ::core::result::Result::Ok(Self { #(#names: #values),* })
            }

            fn write(&self, draft: &mut #krate::entity::Draft) {
                #(#writes)*
            }

            fn define(schema: #krate::entity::made::SchemaBuilder) -> #krate::entity::made::SchemaBuilder {
                let attrs: [#krate::entity::made::AttrDef; #count] = [#(#attrs)*];
                let schema = schema.namespace(#namespace, attrs);
                #(#links)*
                schema
            }
        }

        #[automatically_derived]
        impl #krate::entity::LinkOne for #ident {
            type Target = Self;

            fn from_target(
                row: &#krate::entity::made::Json,
            ) -> ::core::result::Result<Self, #krate::entity::RowError> {
                <Self as #krate::entity::Entity>::from_row(row)
            }

            fn target_id(&self) -> #krate::entity::made::EntityId {
                #krate::entity::Entity::entity_id(self)
            }
        }

        /// What stands for the fields in queries and transactions.
        #[automatically_derived]
        #[allow(dead_code)]
        impl #ident {
            #(#accessors)*
        }
    }
}

fn read(container: &Container, field: &Field) -> TokenStream {
    let (name, label) = (&field.ident, &field.label);
    // The default of a missing value; the struct's own where the field says nothing.
    let default = match &field.default {
        Some(Default::Trait) => Some(quote! { ::core::default::Default::default }),
        Some(Default::Function(path)) => Some(quote! { #path }),
        None if container.default => Some(quote! { || base.#name }),
        None => None,
    };
    match &field.kind {
        Kind::Id => quote! { row.id()? },
        Kind::Skipped => {
            let default = default.unwrap_or_else(|| quote! { ::core::default::Default::default });
            quote! { (#default)() }
        }
        Kind::Link(_) | Kind::Reverse(_) => quote! { row.link(#label)? },
        Kind::Data(Data { deserialize_with: Some(read), .. }) => {
            let value = quote! { row.value_with(#label, |json| #read(json))? };
            match default {
                Some(default) => quote! {
                    if row.lacks(#label) { (#default)() } else { #value }
                },
                None => value,
            }
        }
        Kind::Data(_) => match default {
            Some(default) => quote! { row.value_or(#label, #default)? },
            None => quote! { row.value(#label)? },
        },
    }
}

fn write(krate: &syn::Path, field: &Field) -> TokenStream {
    let (name, label, ty) = (&field.ident, &field.label, &field.ty);
    match &field.kind {
        Kind::Id | Kind::Skipped => TokenStream::new(),
        Kind::Link(_) | Kind::Reverse(_) => quote! {
            draft.link(#label, <#ty as #krate::entity::LinkType>::ids(&self.#name));
        },
        Kind::Data(Data { serialize_with: Some(write), .. }) => quote! {
            draft.encoded(#label, #write(&self.#name, #krate::entity::made::JsonSerializer));
        },
        Kind::Data(_) => quote! { draft.value(#label, &self.#name); },
    }
}

fn attr(container: &Container, field: &Field) -> TokenStream {
    let Container { ident, krate, .. } = container;
    let Kind::Data(data) = &field.kind else { return TokenStream::new() };
    let accessor = &field.accessor;
    let indexed = data.indexed.then(|| quote! { .indexed() });
    let unique = data.unique.then(|| quote! { .unique() });
    let optional = data.optional.then(|| quote! { .optional() });
    let checked = data.checked.map(|checked| {
        let some = |name| quote! { ::core::option::Option::Some(#krate::entity::made::CheckedType::#name) };
        let checked = match checked {
            Checked::String => some(quote! { String }),
            Checked::Number => some(quote! { Number }),
            Checked::Boolean => some(quote! { Boolean }),
            Checked::Date => some(quote! { Date }),
            Checked::Json => quote! { ::core::option::Option::None },
        };
        quote! { .checked(#checked) }
    });
    quote! { #ident::#accessor().define() #checked #indexed #unique #optional, }
}

fn link_def(container: &Container, field: &Field) -> TokenStream {
    let Container { krate, namespace, .. } = container;
    let (label, ty) = (&field.label, &field.ty);
    let target =
        quote! { <<#ty as #krate::entity::LinkType>::Target as #krate::entity::Entity>::NAMESPACE };
    let has = quote! { <#ty as #krate::entity::LinkType>::HAS };
    match &field.kind {
        Kind::Link(LinkOptions { reverse, reverse_has_one, cascade, cascade_reverse }) => {
            let reverse = reverse.as_ref().map(syn::LitStr::value).unwrap_or_default();
            let side = if *reverse_has_one {
                quote! { one }
            } else {
                quote! { many }
            };
            let cascade = cascade.then(|| quote! { .cascade() });
            let cascade_reverse = cascade_reverse.then(|| quote! { .cascade() });
            quote! {
                let link = #krate::entity::made::LinkDef::new(
                    #krate::entity::made::LinkSide::new(#namespace, #label, #has) #cascade,
                    #krate::entity::made::LinkSide::#side(#target, #reverse) #cascade_reverse,
                );
                let is_required = <#ty as #krate::entity::LinkType>::REQUIRED;
                let schema = schema.link(if is_required { link.required() } else { link });
            }
        }
        Kind::Reverse(of) => quote! {
            let schema = schema.sees_link(
                #krate::entity::made::LinkSide::new(#namespace, #label, #has),
                #target,
                #of,
            );
        },
        Kind::Id | Kind::Data(_) | Kind::Skipped => TokenStream::new(),
    }
}

fn accessor(container: &Container, field: &Field) -> TokenStream {
    let Container { krate, visibility, .. } = container;
    let (accessor, label, ty) = (&field.accessor, &field.label, &field.ty);
    let (doc, made, value) = match &field.kind {
        Kind::Skipped => return TokenStream::new(),
        Kind::Id => (
            "The entity's id.".to_owned(),
            quote! { #krate::entity::Field<Self, #krate::entity::made::EntityId> },
            quote! { #krate::entity::Field::new("id") },
        ),
        Kind::Data(data) => {
            let stored = match (&data.checked, inside_option(ty)) {
                (None, _) => quote! { #ty },
                (Some(_), Some(inside)) => {
                    quote! { ::core::option::Option<#krate::entity::Own<#inside>> }
                }
                (Some(_), None) => quote! { #krate::entity::Own<#ty> },
            };
            (
                format!("The attribute `{label}`."),
                quote! { #krate::entity::Field<Self, #stored> },
                quote! { #krate::entity::Field::new(#label) },
            )
        }
        Kind::Link(_) | Kind::Reverse(_) => (
            format!("The link `{label}`."),
            quote! { #krate::entity::Link<Self, <#ty as #krate::entity::LinkType>::Target> },
            quote! { #krate::entity::Link::new(#label) },
        ),
    };
    quote! {
        #[doc = #doc]
        #visibility fn #accessor() -> #made {
            #value
        }
    }
}
