//! Live results.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{FutureExt, Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::watch;
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

    /// The newest results of several subscriptions of one client, all of the same moment.
    pub fn current_together(subscriptions: &[&Self]) -> Vec<Option<Arc<QueryResultSnapshot>>> {
        let Some(first) = subscriptions.first() else { return Vec::new() };
        let latest = |subscription: &&Self| subscription.mailbox.latest()?.ok();
        first.shared.still(|| subscriptions.iter().map(latest).collect())
    }

    /// Watches another query of the same client.
    pub fn beside(&self, query: &Query) -> Self {
        self.shared.watch(query)
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

    /// The newest item at any time, for readers that look when it suits them. Ends when the receivers are
    /// dropped, or the client is closed; the last item tells that.
    pub fn watch(self) -> watch::Receiver<Option<Shown>> {
        watch_stream(self.runtime(), self)
    }

    /// The runtime in which the client was opened.
    pub fn runtime(&self) -> Option<Handle> {
        self.shared.runtime.clone()
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

/// Keeps the newest item of a stream, in a task of a runtime that ends with the stream or with the last receiver. The
/// item is `None` until there is one; without a runtime it stays what it is now.
pub fn watch_stream<S>(runtime: Option<Handle>, stream: S) -> watch::Receiver<Option<S::Item>>
where
    S: Stream<Item: Send + Sync> + Send + 'static,
{
    let mut stream = Box::pin(stream);
    let first = stream.next().now_or_never().flatten();
    let (sender, receiver) = watch::channel(first);
    if let Some(runtime) = runtime {
        drop(runtime.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    item = stream.next() => match item {
                        Some(item) => drop(sender.send_replace(Some(item))),
                        None => return,
                    },
                }
            }
        }));
    }
    receiver
}
