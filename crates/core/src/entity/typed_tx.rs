//! Operations on an entity, by its type.

use std::marker::PhantomData;

use serde_json::{Map, Value as Json};

use super::Entity;
use super::change::{Change, How, encode};
use super::draft::{Draft, EncodeError};
use super::field::{Field, FieldType};
use super::link::{Link, Target};
use super::operand::Operand;
use crate::tx::{EntityKey, Operation, TxBuilder, UpdateMode, tx};

/// A chain of operations on one entity; made by [`Entity::create`], [`Entity::tx`] or [`tx_of`].
#[must_use = "a chain does nothing until it is transacted"]
pub struct EntityTx<E> {
    chain: Result<TxBuilder, EncodeError>,
    marker: PhantomData<fn() -> E>,
}

/// Starts operations on this entity.
pub fn tx_of<E: Entity>(entity: &E) -> EntityTx<E> {
    EntityTx::new(entity.entity_id().into())
}

impl<E> std::fmt::Debug for EntityTx<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EntityTx").field(&self.chain).finish()
    }
}

impl<E> Clone for EntityTx<E> {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), marker: PhantomData }
    }
}

impl<E: Entity> EntityTx<E> {
    pub(super) fn new(key: EntityKey) -> Self {
        Self { chain: Ok(tx(E::NAMESPACE, key)), marker: PhantomData }
    }

    pub(super) fn create(entity: &E) -> Self {
        let mut draft = Draft::default();
        entity.write(&mut draft);
        let chain = draft.finish().map(|(values, links)| {
            let chain = tx(E::NAMESPACE, entity.entity_id()).create(values.into());
            if links.is_empty() { chain } else { chain.links(links) }
        });
        Self { chain, marker: PhantomData }
    }

    fn then(mut self, act: impl FnOnce(TxBuilder) -> Result<TxBuilder, EncodeError>) -> Self {
        self.chain = self.chain.and_then(act);
        self
    }

    /// Makes changes: one, or several, in order. A write to an entity that is known locally does not resurrect it if
    /// somebody else deleted it meanwhile.
    pub fn update(self, changes: impl IntoIterator<Item = Change<E>>) -> Self {
        self.update_with(changes, UpdateMode::Auto)
    }

    /// Makes changes in the given mode.
    pub fn update_with(
        self,
        changes: impl IntoIterator<Item = Change<E>>,
        mode: UpdateMode,
    ) -> Self {
        self.then(|mut chain| {
            let mut group: Map<String, Json> = Map::new();
            let mut how = How::Update;
            let write = |chain: TxBuilder, how, group: &mut Map<String, Json>| {
                let values = Json::Object(std::mem::take(group));
                match how {
                    How::Update => chain.update_with(values, mode),
                    How::Merge => chain.merge_with(values, mode),
                }
            };
            for change in changes {
                // One operation writes each attribute once, and in one way.
                if !group.is_empty() && (change.how != how || group.contains_key(&*change.label)) {
                    chain = write(chain, how, &mut group);
                }
                how = change.how;
                group.insert(change.label.into_owned(), change.value?);
            }
            Ok(if group.is_empty() { chain } else { write(chain, how, &mut group) })
        })
    }

    /// Links to an entity.
    pub fn link<T>(self, link: Link<E, T>, target: impl Target<T>) -> Self {
        self.then(|chain| Ok(chain.link(link.label(), target.key())))
    }

    /// Links to several entities.
    pub fn link_all<T>(
        self,
        link: Link<E, T>,
        targets: impl IntoIterator<Item = impl Target<T>>,
    ) -> Self {
        let targets = targets.into_iter().map(Target::key);
        self.then(|chain| Ok(chain.link_all(link.label(), targets)))
    }

    /// Removes the link to an entity.
    pub fn unlink<T>(self, link: Link<E, T>, target: impl Target<T>) -> Self {
        self.then(|chain| Ok(chain.unlink(link.label(), target.key())))
    }

    /// Refuses the whole transaction unless the entity has this value before it.
    pub fn expect<T: FieldType>(self, field: Field<E, T>, value: impl Operand<T::Operand>) -> Self {
        self.then(|chain| {
            let value = encode(field.label(), &value.into_operand())?;
            Ok(chain.expect(field.label(), value))
        })
    }

    /// Refuses the whole transaction unless the entity has no value before it.
    pub fn expect_none<T>(self, field: Field<E, T>) -> Self {
        self.then(|chain| Ok(chain.expect(field.label(), Json::Null)))
    }

    /// Deletes the entity.
    pub fn delete(self) -> Self {
        self.then(|chain| Ok(chain.delete()))
    }

    /// Gives parameters to permission rules.
    pub fn rule_params(self, params: Json) -> Self {
        self.then(|chain| Ok(chain.rule_params(params)))
    }
}

impl<E> EntityTx<E> {
    /// The chain without its type, for what is not typed.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn into_builder(self) -> Result<TxBuilder, EncodeError> {
        self.chain
    }

    /// The operations, in order.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn into_operations(self) -> Result<Vec<Operation>, EncodeError> {
        self.chain.map(TxBuilder::into_operations)
    }
}
