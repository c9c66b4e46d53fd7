//! What can be transacted.

use serde_json::Value as Json;
use tricedb_core::tx::{Operation, TxBuilder, ValueForm, parse_operations_as};
use tricedb_sync::TransactError;

/// Something that is a transaction: one or several [`TxBuilder`]s, [`Operation`]s, or InstaML in JSON,
/// `[["create", "todos", "<id>", {…}], …]` (one operation may stand alone). In JSON an object with an update
/// operator as its only key is that operator; [`crate::literal`] stores such an object as data.
pub trait IntoTransaction {
    /// Turns it into operations, in order.
    ///
    /// # Errors
    /// JSON that is no InstaML.
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError>;
}

impl IntoTransaction for TxBuilder {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self.into_operations())
    }
}

impl IntoTransaction for Vec<TxBuilder> {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self.into_iter().flatten().collect())
    }
}

impl<const N: usize> IntoTransaction for [TxBuilder; N] {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self.into_iter().flatten().collect())
    }
}

impl IntoTransaction for Operation {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(vec![self])
    }
}

impl IntoTransaction for Vec<Operation> {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self)
    }
}

impl IntoTransaction for &[Operation] {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self.to_vec())
    }
}

impl<const N: usize> IntoTransaction for [Operation; N] {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        Ok(self.into())
    }
}

impl IntoTransaction for &Json {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        let alone = self.get(0).is_some_and(Json::is_string);
        let steps = if alone {
            parse_operations_as(&Json::from(vec![self.clone()]), ValueForm::Operators)
        } else {
            parse_operations_as(self, ValueForm::Operators)
        };
        let steps = steps?;
        if !steps.attr_steps.is_empty() {
            let reason = "attributes are made by writing them, or by an admin".to_owned();
            return Err(TransactError::Unreadable { reason });
        }
        Ok(steps.operations)
    }
}

impl IntoTransaction for Json {
    fn into_transaction(self) -> Result<Vec<Operation>, TransactError> {
        (&self).into_transaction()
    }
}
