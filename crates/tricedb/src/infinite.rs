//! Lists without end: pages that are loaded one after the other and stay live.
//!
//! The loaded rows are cut into stretches of the order, each a subscription of its own. All but the last are fixed by
//! the cursors of their borders and have no limit: what appears between two borders belongs to exactly one of them,
//! whatever is inserted, deleted or moved. The first begins where the order begins, so that new rows before the first
//! page show too. Only the last has a limit; loading the next page fixes its end and opens another behind it. Until both
//! are known the list stays as it was.

mod page;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use serde_json::Value as Json;
use tokio::sync::watch;
use tricedb_core::query::QueryError;
use tricedb_sync::{QueryFailure, QueryResultSnapshot, Subscription};

use crate::client::Client;
use crate::into_query::IntoQuery;

use page::Paging;
pub use page::{InfiniteError, InfiniteResult};

/// A live list that grows by pages; from [`Client::subscribe_infinite`]. Each item is the whole list so far; a reader that
/// is slower than the changes gets the newest. Dropping it ends the watching.
///
/// An `Err` does not end the stream, except [`QueryFailure::Closed`], which is its last item.
#[must_use = "dropping a subscription ends it"]
#[derive(Debug)]
pub struct InfiniteSubscription {
    paging: Paging,
    /// What is shown, in order.
    stretches: Vec<Stretch>,
    /// What takes the place of the last once all of it is known.
    coming: Vec<Stretch>,
    given: Option<InfiniteResult>,
    has_ended: bool,
}

/// A part of the order, behind one cursor and up to another or a number of rows.
#[derive(Debug)]
struct Stretch {
    after: Option<Json>,
    limit: usize,
    subscription: Subscription,
}

impl Client {
    /// Watches the first page of a query of one namespace; [`InfiniteSubscription::load_next`] adds pages. Rows that appear,
    /// vanish or move show wherever they belong in what is loaded, those before the first page included.
    /// Works offline on what is held.
    ///
    /// ```
    /// # use serde_json::json;
    /// # use tricedb::{Client, query};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// for n in 0..30 {
    ///     db.transact(db.create("todos", json!({"n": n})))?;
    /// }
    /// let mut todos = db.subscribe_infinite(query("todos").order_by("n"), 20)?;
    /// let page = todos.wait_for(|todos| todos.len() == 20).await?;
    /// assert!(page.can_load_next());
    /// todos.load_next();
    /// let all = todos.wait_for(|todos| todos.len() == 30).await?;
    /// assert!(!all.can_load_next());
    /// assert_eq!(all.rows().last().map(|row| &row["n"]), Some(&json!(29)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A malformed query, several namespaces, a query that cuts pages itself, a page without rows.
    pub fn subscribe_infinite(
        &self,
        query: impl IntoQuery,
        page_size: usize,
    ) -> Result<InfiniteSubscription, InfiniteError> {
        let paging = Paging::new(&query.into_query()?, page_size)?;
        let subscription = self.subscribe(paging.open(None, page_size)?)?;
        let first = Stretch { after: None, limit: page_size, subscription };
        Ok(InfiniteSubscription {
            paging,
            stretches: vec![first],
            coming: Vec::new(),
            given: None,
            has_ended: false,
        })
    }
}

impl InfiniteSubscription {
    /// Loads another page; the list comes with it as soon as it is known. Returns whether one is on its way:
    /// `false` if there is none, or the list itself is not known yet.
    pub fn load_next(&mut self) -> bool {
        if !self.coming.is_empty() {
            return true;
        }
        let Some(list) = self.current().filter(InfiniteResult::can_load_next) else { return false };
        let Some(last) = self.stretches.last() else { return false };
        let coming = match list.end_cursor().filter(|cursor| self.paging.is_placed(cursor)) {
            Some(end) => {
                let closed = self.paging.closed(last.after.as_ref(), end);
                let size = self.paging.page_size();
                [(last.after.clone(), last.limit, closed), {
                    let open = self.paging.open(Some(end), size);
                    (Some(end.clone()), size, open)
                }]
                .into()
            }
            // Rows that the server has not placed yet end the list, and are no border to rely on.
            None => {
                let limit = last.limit.saturating_add(self.paging.page_size());
                vec![(last.after.clone(), limit, self.paging.open(last.after.as_ref(), limit))]
            }
        };
        let coming: Result<Vec<Stretch>, QueryError> = coming
            .into_iter()
            .map(|(after, limit, query)| {
                Ok(Stretch { after, limit, subscription: last.subscription.beside(&query?) })
            })
            .collect();
        // The parts come from a query that was taken.
        self.coming = coming.unwrap_or_default();
        !self.coming.is_empty()
    }

    /// Whether a page is on its way.
    pub const fn is_loading_next(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Whether rows behind those loaded are known of.
    pub fn can_load_next(&self) -> bool {
        self.coming.is_empty()
            && self.latest(&self.stretches).is_some_and(|list| list.can_load_next())
    }

    /// The newest list, given out or not; `None` as long as there is none.
    pub fn current(&mut self) -> Option<InfiniteResult> {
        self.advance();
        self.latest(&self.stretches)
    }

    /// Why there is nothing newer than [`Self::current`]; `None` while all is well.
    pub fn failure(&self) -> Option<QueryFailure> {
        self.stretches.iter().find_map(|stretch| stretch.subscription.failure())
    }

    /// Waits for the next list that this subscription has not given out yet. `None` once the client is
    /// closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<InfiniteResult, QueryFailure>> {
        StreamExt::next(self).await
    }

    /// Waits for a list that satisfies a condition, passing over those that do not.
    ///
    /// # Errors
    /// [`QueryFailure`] that comes first, such as a refusal; a further call goes on waiting, unless the client
    /// was closed.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&InfiniteResult) -> bool,
    ) -> Result<InfiniteResult, QueryFailure> {
        if let Some(current) = self.current().filter(|current| condition(current)) {
            return Ok(current);
        }
        loop {
            let list = self.next().await.ok_or(QueryFailure::Closed)??;
            if condition(&list) {
                return Ok(list);
            }
        }
    }

    /// Loads every page, waiting for each, up to so many rows.
    ///
    /// # Errors
    /// [`QueryFailure`] that comes first.
    pub async fn load_until(&mut self, rows: usize) -> Result<InfiniteResult, QueryFailure> {
        loop {
            let list = self.wait_for(|_| true).await?;
            if self.coming.is_empty() && (list.len() >= rows || !self.load_next()) {
                return Ok(list);
            }
            let before = self.stretches.len();
            while !self.coming.is_empty() {
                self.next().await.ok_or(QueryFailure::Closed)??;
            }
            debug_assert!(self.stretches.len() >= before);
        }
    }

    /// The newest list at any time, for readers that look when it suits them. Ends when the receivers are
    /// dropped, or the client is closed. For lists that no longer grow: what loads pages is given away.
    pub fn watch(self) -> watch::Receiver<Option<Result<InfiniteResult, QueryFailure>>> {
        let runtime = self.stretches.first().and_then(|stretch| stretch.subscription.runtime());
        tricedb_sync::watch_stream(runtime, self)
    }

    /// Lets what was loaded take its place, once all of it is known.
    fn advance(&mut self) {
        if !self.coming.is_empty() && self.results(&self.coming).is_some() {
            self.stretches.pop();
            self.stretches.append(&mut self.coming);
        }
    }

    /// The results of stretches at one moment; `None` unless all have one.
    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn results(&self, stretches: &[Stretch]) -> Option<Vec<Arc<QueryResultSnapshot>>> {
        let subscriptions: Vec<&Subscription> =
            stretches.iter().map(|stretch| &stretch.subscription).collect();
        Subscription::current_together(&subscriptions).into_iter().collect()
    }

    fn latest(&self, stretches: &[Stretch]) -> Option<InfiniteResult> {
        self.results(stretches).map(|pages| self.paging.result(pages))
    }
}

impl Stream for InfiniteSubscription {
    type Item = Result<InfiniteResult, QueryFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let mut failure = None;
        let mut is_lost = false;
        let all = this.stretches.iter_mut().map(|stretch| (false, stretch));
        for (is_coming, stretch) in all.chain(this.coming.iter_mut().map(|s| (true, s))) {
            // The waker stays with each that has nothing more to say.
            while let Poll::Ready(item) = stretch.subscription.poll_next_unpin(context) {
                match item {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => {
                        is_lost |= is_coming;
                        failure = Some(error);
                    }
                    None => {
                        this.has_ended = true;
                        break;
                    }
                }
            }
        }
        if let Some(error) = failure {
            this.has_ended |= error == QueryFailure::Closed;
            if is_lost {
                // It can be asked for again.
                this.coming.clear();
            }
            return Poll::Ready(Some(Err(error)));
        }
        if this.has_ended {
            return Poll::Ready(None);
        }
        this.advance();
        match this.latest(&this.stretches) {
            Some(list) if this.given.as_ref().is_none_or(|given| !given.is_same(&list)) => {
                this.given = Some(list.clone());
                Poll::Ready(Some(Ok(list)))
            }
            _ => Poll::Pending,
        }
    }
}
