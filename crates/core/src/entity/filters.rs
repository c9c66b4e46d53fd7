//! Typed conditions.

use std::marker::PhantomData;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::field::{Field, FieldType};
use super::operand::Operand;
use crate::query::{Filter, Path, field};

/// An attribute behind links, as seen from the entities `E`: `Todo::owner().then(User::name())`.
pub struct FieldPath<E, T> {
    path: String,
    marker: PhantomData<fn() -> (E, T)>,
}

impl<E, T> Clone for FieldPath<E, T> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), marker: PhantomData }
    }
}

impl<E, T> std::fmt::Debug for FieldPath<E, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FieldPath({})", self.path)
    }
}

impl<E, T> FieldPath<E, T> {
    pub(super) const fn new(path: String) -> Self {
        Self { path, marker: PhantomData }
    }
}

/// A value as an operand. One that JSON cannot hold becomes an operator that no query has, so that the query
/// is refused by name.
fn operand(value: &impl Serialize) -> Json {
    serde_json::to_value(value).unwrap_or_else(|error| json!({"$unwritable": error.to_string()}))
}

macro_rules! filters {
    ($type:ident, $path:ident => $text:expr) => {
        /// Conditions.
        impl<E, T: FieldType> $type<E, T> {
            /// The name or path, for conditions without types.
            pub fn path(self) -> Path {
                let $path = self;
                field($text)
            }

            /// Equal to a value.
            pub fn eq(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().eq(operand(&value.into_operand()))
            }

            /// Another value, or none.
            pub fn ne(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().ne(operand(&value.into_operand()))
            }

            /// One of several values.
            pub fn is_in<V: Operand<T::Operand>>(
                self,
                values: impl IntoIterator<Item = V>,
            ) -> Filter {
                self.path().is_in(values.into_iter().map(|value| operand(&value.into_operand())))
            }

            /// Greater than a value. The attribute must be indexed.
            pub fn gt(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().gt(operand(&value.into_operand()))
            }

            /// Greater than a value, or equal. The attribute must be indexed.
            pub fn gte(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().gte(operand(&value.into_operand()))
            }

            /// Less than a value. The attribute must be indexed.
            pub fn lt(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().lt(operand(&value.into_operand()))
            }

            /// Less than a value, or equal. The attribute must be indexed.
            pub fn lte(self, value: impl Operand<T::Operand>) -> Filter {
                self.path().lte(operand(&value.into_operand()))
            }

            /// Null or missing, or behind a missing link.
            pub fn is_null(self) -> Filter {
                self.path().is_null()
            }

            /// There, and not null.
            pub fn is_not_null(self) -> Filter {
                self.path().is_not_null()
            }
        }

        /// Conditions on text.
        impl<E, T: FieldType<Operand = String>> $type<E, T> {
            /// Matches a pattern: `%` any run of characters, `_` one. The attribute must be indexed.
            pub fn like(self, pattern: impl Into<String>) -> Filter {
                self.path().like(pattern)
            }

            /// Matches a pattern whatever the letter case. The attribute must be indexed.
            pub fn ilike(self, pattern: impl Into<String>) -> Filter {
                self.path().ilike(pattern)
            }
        }
    };
}

filters!(Field, this => this.label());
filters!(FieldPath, this => this.path);
