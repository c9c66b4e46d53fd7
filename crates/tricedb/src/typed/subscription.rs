//! Live entities.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::watch;
use tricedb_core::entity::{Entity, RowError};
use tricedb_core::query::Query;
use tricedb_sync::{QueryFailure, QueryResultSnapshot, Subscription};

use super::{ReadError, entities};

/// A watched query whose results are entities of type `E`; from [`crate::Client::subscribe_as`]. Each item is all of them;
/// a reader that is slower than the changes gets the newest. Dropping it ends the watching.
///
/// An `Err` does not end the stream: after a row that does not fit, or a refusal, later results come as ever. Only
/// [`QueryFailure::Closed`] is the last item.
#[must_use = "dropping a subscription ends it"]
pub struct TypedSubscription<E> {
    inner: Subscription,
    marker: PhantomData<fn() -> E>,
}

impl<E> std::fmt::Debug for TypedSubscription<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedSubscription").field(&self.inner).finish()
    }
}

impl<E: Entity> TypedSubscription<E> {
    pub(super) fn new(inner: Subscription) -> Self {
        Self { inner, marker: PhantomData }
    }

    /// Waits for the next entities that this subscription has not given out yet: the first call gives what is
    /// known already. `None` once the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Vec<E>, ReadError>> {
        Some(self.inner.next().await?.map_err(ReadError::from).and_then(|r| Ok(entities(&r)?)))
    }

    /// The newest entities, given out or not; `None` as long as there are none.
    ///
    /// # Errors
    /// A row that does not fit.
    pub fn current(&self) -> Option<Result<Vec<E>, RowError>> {
        self.inner.current().map(|result| entities(&result))
    }

    /// The newest result that the entities are read from, with its page info and coverage.
    pub fn snapshot(&self) -> Option<Arc<QueryResultSnapshot>> {
        self.inner.current()
    }

    /// Why there is nothing newer than [`Self::current`]; `None` while all is well.
    pub fn failure(&self) -> Option<QueryFailure> {
        self.inner.failure()
    }

    /// Waits for entities that satisfy a condition, passing over those that do not. Cancel-safe in that nothing is lost
    /// but what was passed over.
    ///
    /// # Errors
    /// [`ReadError`] that comes first; a further call goes on waiting, unless the client was closed.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&[E]) -> bool,
    ) -> Result<Vec<E>, ReadError> {
        if let Some(Ok(current)) = self.current().filter(|c| c.as_ref().is_ok_and(|c| condition(c)))
        {
            return Ok(current);
        }
        loop {
            let found = self.next().await.ok_or(QueryFailure::Closed)??;
            if condition(&found) {
                return Ok(found);
            }
        }
    }

    /// The newest item at any time, for readers that look when it suits them. Ends when the receivers are
    /// dropped, or the client is closed; the last item tells that.
    pub fn watch(self) -> watch::Receiver<Option<Result<Arc<[E]>, ReadError>>>
    where
        E: Send + Sync + 'static,
    {
        use futures_util::StreamExt;
        let runtime = self.inner.runtime();
        tricedb_sync::watch_stream(runtime, self.map(|item| item.map(Arc::from)))
    }

    /// The query.
    pub const fn query(&self) -> &Query {
        self.inner.query()
    }
}

impl<E: Entity> Stream for TypedSubscription<E> {
    type Item = Result<Vec<E>, ReadError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<E>, ReadError>>> {
        let next = Pin::new(&mut self.inner).poll_next(context);
        next.map(|item| Some(item?.map_err(ReadError::from).and_then(|r| Ok(entities(&r)?))))
    }
}
