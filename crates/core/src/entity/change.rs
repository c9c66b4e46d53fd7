//! Changes of attributes.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::draft::{EncodeError, data};

/// A change of one attribute of an entity of type `E`; made by the methods of [`super::Field`], carried out by
/// [`super::EntityTx::update`]. It is also a list of one change.
#[must_use = "a change does nothing until it is part of a transaction"]
pub struct Change<E> {
    pub(super) label: Cow<'static, str>,
    pub(super) how: How,
    /// In the form in which operators are possible.
    pub(super) value: Result<Json, EncodeError>,
    marker: PhantomData<fn() -> E>,
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Update,
    Merge,
}

impl<E> std::fmt::Debug for Change<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { label, how, value, .. } = self;
        f.debug_struct("Change")
            .field("label", label)
            .field("how", how)
            .field("value", value)
            .finish()
    }
}

impl<E> Change<E> {
    fn new(label: Cow<'static, str>, how: How, value: Result<Json, EncodeError>) -> Self {
        Self { label, how, value, marker: PhantomData }
    }

    pub(super) fn raw(label: Cow<'static, str>, value: Json) -> Self {
        Self::new(label, How::Update, Ok(value))
    }

    pub(super) fn set(label: Cow<'static, str>, value: &impl Serialize) -> Self {
        let value = encode(&label, value).map(data);
        Self::new(label, How::Update, value)
    }

    pub(super) fn merge(label: Cow<'static, str>, patch: Json) -> Self {
        Self::new(label, How::Merge, Ok(patch))
    }

    pub(super) fn operator(
        label: Cow<'static, str>,
        name: &'static str,
        operand: &impl Serialize,
    ) -> Self {
        let value = encode(&label, operand).map(|operand| json!({ name: operand }));
        Self::new(label, How::Update, value)
    }
}

pub(super) fn encode(label: &str, value: &impl Serialize) -> Result<Json, EncodeError> {
    serde_json::to_value(value).map_err(|error| EncodeError::new(label, &error))
}

impl<E> IntoIterator for Change<E> {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}
