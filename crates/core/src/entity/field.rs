//! Attributes by name and Rust type.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::change::Change;
use super::date::Date;
use super::operand::Operand;
use crate::attr::CheckedType;
use crate::id::EntityId;
use crate::schema::AttrDef;
use crate::tx::{EntityKey, lookup};

/// An attribute of the entities `E` whose values are `T`; `#[derive(Entity)]` makes one for each field.
///
/// It names the attribute in filters (`Todo::done().eq(false)`), orders (`.order_by(Todo::created_at())`) and
/// changes (`Todo::likes().increment(1)`).
pub struct Field<E, T> {
    label: Cow<'static, str>,
    marker: PhantomData<fn() -> (E, T)>,
}

impl<E, T> Clone for Field<E, T> {
    fn clone(&self) -> Self {
        Self { label: self.label.clone(), marker: PhantomData }
    }
}

impl<E, T> fmt::Debug for Field<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.label)
    }
}

impl<E, T> From<Field<E, T>> for String {
    fn from(field: Field<E, T>) -> Self {
        field.label.into_owned()
    }
}

/// A Rust type that can be the type of an attribute.
#[diagnostic::on_unimplemented(
    message = "the type `{Self}` does not say how it is stored",
    note = "if it is a link, write `#[entity(link(reverse = \"..\"))]` above the field",
    note = "if it is data, name its type: `#[entity(type = \"string\")]`, or `number`, `boolean`, `date`, `json`; \
            or implement `FieldType` for it"
)]
pub trait FieldType {
    /// What a value is compared with or set to: the type itself, without `Option`.
    type Operand: Serialize;

    /// The type that the schema enforces; none for any JSON.
    const CHECKED: Option<CheckedType>;

    /// Whether entities may lack it.
    const OPTIONAL: bool = false;
}

/// A type of which numbers are made: [`Field::increment`] and the like.
pub trait Number: FieldType {}

/// A type that the server can compare: [`Field::min`] and [`Field::max`].
pub trait Ordered: FieldType {}

/// A type that can hold an instant: [`Field::server_time`].
pub trait Time: FieldType {}

/// An array: [`Field::push`] and the like.
pub trait Items: FieldType {
    /// What it holds.
    type Item: Serialize;
}

/// Any serializable type, for fields that say their type by an attribute.
pub struct Own<T>(PhantomData<fn() -> T>);

impl<T: Serialize> FieldType for Own<T> {
    type Operand = T;
    const CHECKED: Option<CheckedType> = None;
}

macro_rules! field_types {
    ($($checked:expr => $($type:ty),+;)+) => { $($(
        impl FieldType for $type {
            type Operand = Self;
            const CHECKED: Option<CheckedType> = $checked;
        }
    )+)+ };
}

field_types! {
    Some(CheckedType::String) => String, Box<str>, Arc<str>, char, EntityId, Uuid;
    Some(CheckedType::Number) => i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64;
    Some(CheckedType::Boolean) => bool;
    Some(CheckedType::Date) => Date;
    None => Map<String, Json>;
}

/// Any JSON, null included.
impl FieldType for Json {
    type Operand = Self;
    const CHECKED: Option<CheckedType> = None;
    const OPTIONAL: bool = true;
}

macro_rules! marks {
    ($($mark:ident => $($type:ty),+;)+) => {
        $(
            $(impl $mark for $type {})+
            impl<T: $mark> $mark for Option<T> {}
        )+
    };
}

marks! {
    Number => i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64;
    Ordered => i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64, Date, String, Box<str>, Arc<str>;
    Time => Date, i64, u64, f64;
}

impl<T: FieldType> FieldType for Option<T> {
    type Operand = T::Operand;
    const CHECKED: Option<CheckedType> = T::CHECKED;
    const OPTIONAL: bool = true;
}

impl<T: FieldType<Operand = T> + Serialize> FieldType for Box<T> {
    type Operand = T;
    const CHECKED: Option<CheckedType> = T::CHECKED;
}

macro_rules! collections {
    ($(($($parameter:ident),+) $type:ty;)+) => { $(
        impl<$($parameter: Serialize),+> FieldType for $type {
            type Operand = Self;
            const CHECKED: Option<CheckedType> = None;
        }
    )+ };
}

collections! {
    (T) Vec<T>;
    (T) BTreeSet<T>;
    (K, T) BTreeMap<K, T>;
}

impl<K: Serialize, T: Serialize, S> FieldType for HashMap<K, T, S> {
    type Operand = Self;
    const CHECKED: Option<CheckedType> = None;
}

impl<T: Serialize, S> FieldType for HashSet<T, S> {
    type Operand = Self;
    const CHECKED: Option<CheckedType> = None;
}

impl<T: Serialize> Items for Vec<T> {
    type Item = T;
}

impl<T: Items> Items for Option<T> {
    type Item = T::Item;
}

/// Any JSON may be an array; operators find out when they are applied.
impl Items for Json {
    type Item = Self;
}

impl<E, T> Field<E, T> {
    /// The attribute of this name.
    pub const fn new(label: &'static str) -> Self {
        Self { label: Cow::Borrowed(label), marker: PhantomData }
    }

    /// The attribute's name.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl<E, T: FieldType> Field<E, T> {
    /// The attribute's definition in a schema.
    pub fn define(&self) -> AttrDef {
        let def = AttrDef::new(&*self.label, T::CHECKED);
        if T::OPTIONAL { def.optional() } else { def }
    }

    /// The entity whose unique attribute has this value; usable wherever an id is.
    pub fn lookup(self, value: impl Operand<T::Operand>) -> EntityKey {
        // What cannot be written as JSON is found nowhere: the lookup fails by name.
        let value = serde_json::to_value(value.into_operand()).unwrap_or_default();
        lookup(&self.label, value)
    }

    /// Writes a value.
    pub fn set(self, value: impl Operand<T::Operand>) -> Change<E> {
        Change::set(self.label, &value.into_operand())
    }

    /// Writes a value only if there is none.
    pub fn set_once(self, value: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$setOnce", &value.into_operand())
    }

    /// Merges objects into the value, key by key; null removes a key.
    pub fn merge(self, patch: Json) -> Change<E> {
        Change::merge(self.label, patch)
    }
}

impl<E, T: FieldType> Field<E, Option<T>> {
    /// Writes null, which reads as `None`.
    pub fn clear(self) -> Change<E> {
        Change::set(self.label, &Json::Null)
    }

    /// Writes a value, or null for `None`.
    pub fn set_option(self, value: Option<T::Operand>) -> Change<E> {
        Change::set(self.label, &value)
    }
}

/// Changes that the server computes at commit, so that none is lost.
impl<E, T: Number> Field<E, T> {
    /// Adds; a missing number counts as 0.
    pub fn increment(self, by: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$increment", &by.into_operand())
    }

    /// Takes away; a missing number counts as 0.
    pub fn decrement(self, by: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$decrement", &by.into_operand())
    }

    /// Multiplies; a missing number counts as 1.
    pub fn multiply(self, by: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$multiply", &by.into_operand())
    }
}

impl<E, T: Ordered> Field<E, T> {
    /// Lowers the value to this one, if this one is less.
    pub fn min(self, value: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$min", &value.into_operand())
    }

    /// Raises the value to this one, if this one is greater.
    pub fn max(self, value: impl Operand<T::Operand>) -> Change<E> {
        Change::operator(self.label, "$max", &value.into_operand())
    }
}

impl<E, T: Time> Field<E, T> {
    /// Writes the server's time at the commit, in milliseconds since 1970.
    pub fn server_time(self) -> Change<E> {
        Change::raw(self.label, json!({"$serverTime": true}))
    }
}

impl<E, T: Items> Field<E, T> {
    /// Appends to the array.
    pub fn push(self, item: impl Operand<T::Item>) -> Change<E> {
        Change::operator(self.label, "$push", &item.into_operand())
    }

    /// Appends to the array what it does not hold yet.
    pub fn add_to_set(self, item: impl Operand<T::Item>) -> Change<E> {
        Change::operator(self.label, "$addToSet", &item.into_operand())
    }

    /// Removes every equal item of the array.
    pub fn pull(self, item: impl Operand<T::Item>) -> Change<E> {
        Change::operator(self.label, "$pull", &item.into_operand())
    }
}
