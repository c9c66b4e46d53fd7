//! Streams out of the engine: what each reader has not read yet.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::engine::SyncEvent;

/// Most events that wait for one reader; the oldest make way.
pub(crate) const EVENTS_MAX: usize = 1024;

/// Whether the newest item replaces the one before, or joins a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keeps {
    Latest,
    /// The oldest make way when there are more than `max`.
    Queue {
        max: usize,
    },
}

/// Holds what one reader has not read yet.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    keeps: Keeps,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    unread: VecDeque<T>,
    /// The newest item, read or not.
    latest: Option<T>,
    /// How many had to make way unread.
    missed: u64,
    /// What came since that takes its place for readers, but not as what is known.
    aside: Option<T>,
    /// The first unread item was put aside: a newer one does not replace it.
    is_aside_unread: bool,
    ended: bool,
    waker: Option<Waker>,
}

impl<T: Clone> Mailbox<T> {
    pub(crate) fn new(keeps: Keeps) -> Arc<Self> {
        let unread = VecDeque::new();
        let inner = Inner {
            unread,
            latest: None,
            missed: 0,
            aside: None,
            is_aside_unread: false,
            ended: false,
            waker: None,
        };
        Arc::new(Self { keeps, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing in here can panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, item: T) {
        self.place(item, |inner, item| {
            // A reader is to hear of a refusal, however soon something is shown again.
            inner.unread.truncate(usize::from(inner.is_aside_unread));
            inner.latest = Some(item.clone());
            inner.aside = None;
        });
    }

    /// Tells the reader something that leaves [`Self::latest`] as it is.
    pub(crate) fn put_aside(&self, item: T) {
        self.place(item, |inner, item| {
            inner.unread.clear();
            inner.aside = Some(item.clone());
            inner.is_aside_unread = true;
        });
    }

    fn place(&self, item: T, keep: impl FnOnce(&mut Inner<T>, &T)) {
        let waker = {
            let mut inner = self.lock();
            if inner.ended {
                return;
            }
            match self.keeps {
                Keeps::Latest => keep(&mut inner, &item),
                Keeps::Queue { max } if inner.unread.len() >= max => {
                    inner.unread.pop_front();
                    inner.missed += 1;
                }
                Keeps::Queue { .. } => {}
            }
            inner.unread.push_back(item);
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Nothing comes any more; what is unread can still be read.
    pub(crate) fn end(&self) {
        let waker = {
            let mut inner = self.lock();
            inner.ended = true;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn latest(&self) -> Option<T> {
        self.lock().latest.clone()
    }

    /// How many items of a queue had to make way unread.
    pub(crate) fn missed(&self) -> u64 {
        self.lock().missed
    }

    /// What was put aside since the newest item.
    pub(crate) fn aside(&self) -> Option<T> {
        self.lock().aside.clone()
    }

    pub(crate) fn poll(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut inner = self.lock();
        if let Some(item) = inner.unread.pop_front() {
            inner.is_aside_unread = false;
            return Poll::Ready(Some(item));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A stream of [`SyncEvent`]s from the moment it was made. A reader that falls far behind misses the
/// oldest. Ends when the client is closed.
#[derive(Debug)]
pub struct SyncEvents(pub(crate) Arc<Mailbox<SyncEvent>>);

impl SyncEvents {
    /// Waits for the next event; `None` once the client is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<SyncEvent> {
        std::future::poll_fn(|context| self.0.poll(context)).await
    }
}

impl Stream for SyncEvents {
    type Item = SyncEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SyncEvent>> {
        self.0.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Clone>(mailbox: &Mailbox<T>) -> Poll<Option<T>> {
        mailbox.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_slow_reader_hears_of_a_refusal_before_what_came_after_it() {
        let mailbox = Mailbox::new(Keeps::Latest);
        mailbox.put(1);
        mailbox.put_aside(2);
        mailbox.put(3);
        mailbox.put(4);
        assert_eq!((mailbox.latest(), mailbox.aside()), (Some(4), None));
        assert_eq!(read(&mailbox), Poll::Ready(Some(2)));
        mailbox.put(5);
        assert_eq!(read(&mailbox), Poll::Ready(Some(5)));
        assert_eq!(read(&mailbox), Poll::Pending);
    }

    #[test]
    fn a_slow_reader_gets_the_latest_result_and_the_end() {
        let mailbox = Mailbox::new(Keeps::Latest);
        assert_eq!(read(&mailbox), Poll::Pending);
        mailbox.put(1);
        mailbox.put(2);
        assert_eq!(read(&mailbox), Poll::Ready(Some(2)));
        assert_eq!(read(&mailbox), Poll::Pending);
        assert_eq!(mailbox.latest(), Some(2));
        mailbox.put(3);
        mailbox.end();
        mailbox.put(4);
        assert_eq!(read(&mailbox), Poll::Ready(Some(3)));
        assert_eq!(read(&mailbox), Poll::Ready(None));
    }

    #[test]
    fn what_is_put_aside_is_read_and_leaves_the_latest() {
        let mailbox = Mailbox::new(Keeps::Latest);
        mailbox.put(1);
        mailbox.put_aside(-1);
        assert_eq!(read(&mailbox), Poll::Ready(Some(-1)));
        assert_eq!((mailbox.latest(), mailbox.aside()), (Some(1), Some(-1)));
        mailbox.put(2);
        assert_eq!((mailbox.latest(), mailbox.aside()), (Some(2), None));
    }

    #[test]
    fn a_reader_of_events_that_falls_behind_misses_the_oldest() {
        let mailbox = Mailbox::new(Keeps::Queue { max: 3 });
        for n in 0..5 {
            mailbox.put(n);
        }
        assert_eq!(read(&mailbox), Poll::Ready(Some(2)));
        assert_eq!(mailbox.missed(), 2);
    }
}
