//! Typed chains as transactions.

use tricedb_core::entity::EntityTx;
use tricedb_core::tx::Operation;
use tricedb_sync::TransactError;

use crate::into_transaction::IntoTransaction;

impl<E> IntoTransaction for EntityTx<E> {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        let unreadable = |error: tricedb_core::entity::EncodeError| TransactError::Unreadable {
            reason: error.to_string(),
        };
        self.into_operations().map_err(unreadable)
    }
}

impl<E> IntoTransaction for Vec<EntityTx<E>> {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        let parts = self.into_iter().map(IntoTransaction::into_transaction);
        Ok(parts.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

impl<E, const N: usize> IntoTransaction for [EntityTx<E>; N] {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Vec::from(self).into_transaction()
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))+) => { $(
        /// Parts of different kinds, in order.
        impl<$($part: IntoTransaction),+> IntoTransaction for ($($part,)+) {
            fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
                #[expect(non_snake_case, reason = "a part is called like its type")]
                let ($($part,)+) = self;
                let mut operations = Vec::new();
                $(operations.extend($part.into_transaction()?);)+
                Ok(operations)
            }
        }
    )+ };
}

tuples! {
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
}
