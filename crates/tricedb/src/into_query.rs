//! What can be asked.

use serde_json::Value as Json;
use tricedb_core::query::{Query, QueryBuilder, QueryError};

/// Something that is a query: a [`Query`], a [`QueryBuilder`], or InstaQL in JSON.
pub trait IntoQuery {
    /// Turns it into a query.
    ///
    /// # Errors
    /// What makes it none.
    fn into_query(self) -> Result<Query, QueryError>;
}

impl IntoQuery for Query {
    fn into_query(self) -> Result<Query, QueryError> {
        Ok(self)
    }
}

impl IntoQuery for &Query {
    fn into_query(self) -> Result<Query, QueryError> {
        Ok(self.clone())
    }
}

impl IntoQuery for QueryBuilder {
    fn into_query(self) -> Result<Query, QueryError> {
        self.build()
    }
}

impl IntoQuery for Json {
    fn into_query(self) -> Result<Query, QueryError> {
        self.try_into()
    }
}

impl IntoQuery for &Json {
    fn into_query(self) -> Result<Query, QueryError> {
        self.try_into()
    }
}
