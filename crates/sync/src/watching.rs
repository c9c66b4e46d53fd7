//! Live results.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tricedb_core::query::Query;

use crate::engine::{QueryFailure, QueryResultSnapshot};
use crate::mailbox::Mailbox;
use crate::shared::Shared;

/// What a watched query shows, or why it shows nothing new.
pub type Shown = Result<Arc<QueryResultSnapshot>, QueryFailure>;

/// A watched query. Each item is the whole result; a reader that is slower than the changes gets the
/// newest. Dropping it ends the watching.
///
/// An `Err` does not end the stream, except [`QueryFailure::Closed`], which is its last item.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it"]
pub struct Subscription {
    pub(crate) query: Query,
    pub(crate) mailbox: Arc<Mailbox<Shown>>,
    pub(crate) shared: Arc<Shared>,
}

impl Subscription {
    /// Waits for the next result that this subscription has not given out yet: the first call gives what
    /// is known already. `None` once the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Shown> {
        std::future::poll_fn(|context| self.mailbox.poll(context)).await
    }

    /// The newest result, read or not; `None` as long as there is none. A transaction
    /// shows in it as soon as the call that queued it has returned. A query that the server refuses keeps
    /// the last result that it had; [`Self::failure`] tells.
    pub fn current(&self) -> Option<Arc<QueryResultSnapshot>> {
        self.shared.settle();
        self.mailbox.latest()?.ok()
    }

    /// Why there is nothing newer than [`Self::current`]; `None` while all is well.
    pub fn failure(&self) -> Option<QueryFailure> {
        self.mailbox.aside()?.err()
    }

    /// Waits for a result that satisfies a condition, passing over those that do not. Cancel-safe in that
    /// nothing is lost but the results passed over.
    ///
    /// # Errors
    /// [`QueryFailure`] that comes first, such as a refusal; a further call goes on waiting, unless the client
    /// was closed.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&QueryResultSnapshot) -> bool,
    ) -> Shown {
        if let Some(current) = self.current().filter(|current| condition(current)) {
            return Ok(current);
        }
        loop {
            let result = self.next().await.ok_or(QueryFailure::Closed)??;
            if condition(&result) {
                return Ok(result);
            }
        }
    }

    /// The query.
    pub const fn query(&self) -> &Query {
        &self.query
    }
}

impl Stream for Subscription {
    type Item = Shown;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Shown>> {
        self.mailbox.poll(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.unwatch(&self.query.canonical(), &self.mailbox);
    }
}
