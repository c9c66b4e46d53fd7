//! `#[derive(Entity)]`: a Rust struct as the entities of a namespace.
//!
//! Programs take it from the `tricedb` crate, which documents what it makes; this crate only writes the code.
//!
//! The struct has named fields, and one of them is the id. Every other field is an attribute or, with `link` or
//! `reverse_of`, a link. Names follow serde's `rename`, `rename_all`, `default`, `skip`, `with`, `serialize_with` and
//! `deserialize_with`, whether serde's own derives are there or not.
//!
//! | on the struct | |
//! | --- | --- |
//! | `#[entity(namespace = "todos")]` | the namespace; without it the type's name in camel case and plural |
//! | `#[entity(crate = "path")]` | where the traits are, if not in `::tricedb` |
//!
//! | on a field | |
//! | --- | --- |
//! | `#[entity(id)]` | the id, if the field is not called `id` |
//! | `#[entity(indexed)]`, `#[entity(unique)]` | an index serves comparison and order; no two entities share a value |
//! | `#[entity(optional)]` | entities may lack it; `Option` says it, too |
//! | `#[entity(type = "string")]` | the enforced type, for Rust types that do not say one: `string`, `number`, `boolean`, `date`, `json` |
//! | `#[entity(link(reverse = "todos"))]` | a link that this type defines, and its name on the other side |
//! | `link(.., reverse_has = "one")` | the other side has at most one; without it many |
//! | `link(.., cascade)`, `link(.., cascade_reverse)` | this entity is deleted with the linked one; the linked one with this |
//! | `#[entity(reverse_of = "owner")]` | the other side of the link `owner` of the linked type |
//! | `#[entity(accessor = "name")]` | another name for the function that stands for the field |

mod container;
mod expand;
mod field;
mod names;
mod options;
mod serde_options;

use proc_macro::TokenStream;

/// Makes a struct the entities of a namespace; the crate's documentation lists the attributes.
#[proc_macro_derive(Entity, attributes(entity, serde))]
pub fn derive_entity(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    container::Container::read(&input)
        .map(|container| expand::expand(&container))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

#[cfg(test)]
mod tests {
    use crate::container::Container;

    /// The errors of a struct that cannot be an entity.
    fn refused(code: &str) -> String {
        let input = syn::parse_str(code).unwrap();
        match Container::read(&input) {
            Ok(_) => panic!("taken: {code}"),
            Err(errors) => {
                errors.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("\n")
            }
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let field = |field: &str| format!("struct Todo {{ id: EntityId, {field} }}");
        let cases = [
            ("enum Todo { A }".to_owned(), "an entity is a struct"),
            ("struct Todo(EntityId);".to_owned(), "fields of an entity have names"),
            ("struct Todo<T> { id: T }".to_owned(), "no type parameters"),
            ("struct Todo { title: String }".to_owned(), "add a field `id: EntityId`"),
            (field("#[entity(id)] other: EntityId"), "one id"),
            (field("#[entity(index)] title: String"), "`indexed`, `unique`"),
            (field("#[entity(type = \"text\")] title: String"), "`string`, `number`"),
            (field("#[entity(link)] owner: Option<User>"), "link(reverse = \"..\")"),
            (
                field("#[entity(link(reverse = \"a\"), reverse_of = \"b\")] o: Vec<User>"),
                "one of its sides",
            ),
            (field("#[entity(link(reverse = \"a\"), indexed)] o: Vec<User>"), "this is for data"),
            (
                field("#[entity(link(reverse = \"a\", has = \"one\"))] o: Vec<User>"),
                "`reverse_has = \"one\"`",
            ),
            (
                field("#[entity(link(reverse = \"a\", reverse_has = \"two\"))] o: Vec<User>"),
                "`one` or `many`",
            ),
            (field("#[serde(flatten)] rest: Rest"), "write them out"),
            (field("#[serde(rename = \"a.b\")] a: String"), "no dot"),
            (field("#[serde(rename = \"id\")] a: String"), "#[entity(id)]"),
            (field("a: String, #[serde(rename = \"a\")] b: String"), "`a` is taken"),
            (
                field("#[serde(rename(serialize = \"a\", deserialize = \"b\"))] c: String"),
                "one name",
            ),
            (
                "#[entity(name = \"x\")] struct Todo { id: EntityId }".to_owned(),
                "namespace = \"..\"",
            ),
            (
                "#[entity(namespace = \" \")] struct Todo { id: EntityId }".to_owned(),
                "not be blank",
            ),
            (
                "#[serde(rename_all = \"camel\")] struct Todo { id: EntityId }".to_owned(),
                "camelCase",
            ),
        ];
        for (code, expected) in cases {
            let told = refused(&code);
            assert!(told.contains(expected), "{code}\n{told}");
        }
        let two = refused(&field("#[entity(x)] a: u8, #[entity(y)] b: u8"));
        assert_eq!(two.lines().count(), 2, "all faults at once: {two}");
    }
}
