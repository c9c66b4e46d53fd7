//! What handles and driver share: the engine behind one lock, and where its outputs go.
//!
//! The lock is there because a call such as `transact` answers at once whether the write stands and shows
//! in results, from any thread. It is never held over an await; the longest it is held is the evaluation
//! of the watched queries after a large result.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
use tricedb_core::port::{Batch, Frame};
use tricedb_core::query::Query;
use tricedb_protocol::PresenceData;

use crate::clock::Clock;
use crate::engine::{
    ConnectionStatus, Input, Millis, OnceId, Output, Peers, QueryFailure, Queued, RoomError,
    SyncEngine, SyncEvent, TopicMessage,
};
use crate::mailbox::{EVENTS_MAX, Keeps, Mailbox, SyncEvents};
use crate::receipt::{LocalError, Progress, Receipt, SyncedError};
use crate::rooms::{Desks, RoomHandle};
use crate::watching::{Shown, Subscription};

/// Work for the driver.
#[derive(Debug)]
pub(crate) enum Job {
    /// With the connection's number.
    Connect(u64),
    Close,
    Send(Frame),
    Persist(Batch),
}

/// What the driver is to do next.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) jobs: VecDeque<Job>,
    /// Whether [`Shared::settle`] has something to do.
    pub(crate) results_due: bool,
    /// How long until the engine wants to hear of the time.
    pub(crate) wait: Option<std::time::Duration>,
    pub(crate) is_closed: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) clock: Clock,
    /// Where the client was opened; `None` outside of a runtime.
    pub(crate) runtime: Option<Handle>,
    pub(crate) wake: Notify,
    pub(crate) status: watch::Sender<ConnectionStatus>,
    /// Grows with each change of the list of pending transactions.
    pub(crate) queue: watch::Sender<u64>,
    /// Set when everything has ended: the storage's failure, if that kept it from closing well.
    pub(crate) ended: watch::Sender<Option<Result<(), Arc<str>>>>,
}

#[derive(Debug)]
struct State {
    engine: SyncEngine,
    jobs: VecDeque<Job>,
    /// The number of the present connection or attempt; another once it was given up.
    attempt: u64,
    watched: FxHashMap<Arc<str>, Vec<Arc<Mailbox<Shown>>>>,
    receipts: FxHashMap<u64, watch::Sender<Progress>>,
    once: FxHashMap<OnceId, oneshot::Sender<Shown>>,
    listeners: Vec<Weak<Mailbox<SyncEvent>>>,
    rooms: Desks,
    has_ended: bool,
}

impl Shared {
    pub(crate) fn new(engine: SyncEngine, clock: Clock) -> Arc<Self> {
        let status = watch::Sender::new(engine.status());
        let state = State {
            engine,
            jobs: VecDeque::new(),
            attempt: 0,
            watched: FxHashMap::default(),
            receipts: FxHashMap::default(),
            once: FxHashMap::default(),
            listeners: Vec::new(),
            rooms: Desks::default(),
            has_ended: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            clock,
            runtime: Handle::try_current().ok(),
            wake: Notify::new(),
            status,
            queue: watch::Sender::new(0),
            ended: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic inside, the engine may be half-way; going on is still better than taking the whole
        // program down with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the engine, passes its outputs on, and wakes the driver.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut SyncEngine, Millis) -> R) -> R {
        let result = self.step(act);
        self.wake.notify_one();
        result
    }

    /// Like [`Self::with`], for the driver, which need not be woken.
    pub(crate) fn step<R>(&self, act: impl FnOnce(&mut SyncEngine, Millis) -> R) -> R {
        let mut state = self.lock();
        let now = self.clock.now();
        let result = act(&mut state.engine, now);
        self.drain(&mut state, now);
        result
    }

    /// Tells the engine what happened on a connection, unless that was given up meanwhile.
    pub(crate) fn hear(&self, attempt: u64, inputs: Vec<Input>) {
        let mut state = self.lock();
        let now = self.clock.now();
        for input in inputs {
            if state.attempt != attempt {
                return;
            }
            state.engine.handle(now, input);
            self.drain(&mut state, now);
        }
    }

    /// Passes on what does not need results evaluated: that is the driver's, once for many changes.
    fn drain(&self, state: &mut State, now: Millis) {
        while let Some(output) = state.engine.poll_prompt(now) {
            self.pass_on(state, output);
        }
    }

    /// Evaluates results that may have changed and passes them on.
    pub(crate) fn settle(&self) {
        self.still(|| ());
    }

    /// [`Self::settle`], and something that nothing may change meanwhile. It must not use the engine.
    pub(crate) fn still<R>(&self, act: impl FnOnce() -> R) -> R {
        let mut state = self.lock();
        let now = self.clock.now();
        while let Some(output) = state.engine.poll_output(now) {
            self.pass_on(&mut state, output);
        }
        act()
    }

    fn pass_on(&self, state: &mut State, output: Output) {
        match output {
            Output::Connect => {
                state.attempt += 1;
                let connect = Job::Connect(state.attempt);
                state.jobs.push_back(connect);
            }
            Output::Close => {
                state.attempt += 1;
                // What was to be sent over the connection has no meaning on the next.
                state.jobs.retain(|job| matches!(job, Job::Persist(_) | Job::Close));
                state.jobs.push_back(Job::Close);
            }
            Output::Send(frame) => state.jobs.push_back(Job::Send(frame)),
            Output::Persist(batch) => state.jobs.push_back(Job::Persist(batch)),
            Output::Status(status) => drop(self.status.send_replace(status)),
            Output::PendingChanged => self.queue.send_modify(|revision| *revision += 1),
            other => state.deliver(other),
        }
    }

    /// What the driver is to do.
    pub(crate) fn work(&self) -> Work {
        let mut state = self.lock();
        let now = self.clock.now();
        self.drain(&mut state, now);
        Work {
            jobs: std::mem::take(&mut state.jobs),
            results_due: state.engine.results_due(),
            wait: state.engine.next_deadline().map(|deadline| deadline.since(now)),
            is_closed: state.engine.is_closed(),
        }
    }

    pub(crate) fn watch(self: &Arc<Self>, query: &Query) -> Subscription {
        let mailbox = Mailbox::new(Keeps::Latest);
        let key = query.canonical();
        {
            let mut state = self.lock();
            let now = self.clock.now();
            if state.has_ended {
                mailbox.put_aside(Err(QueryFailure::Closed));
                mailbox.end();
            } else {
                if let Some(latest) = state.engine.shown(&key) {
                    mailbox.put(Ok(latest));
                }
                if let Some(error) = state.engine.refusal(&key) {
                    mailbox.put_aside(Err(QueryFailure::Refused(error)));
                }
                state.watched.entry(key).or_default().push(mailbox.clone());
                state.engine.subscribe(now, query);
                self.drain(&mut state, now);
            }
        }
        self.wake.notify_one();
        Subscription { query: query.clone(), mailbox, shared: self.clone() }
    }

    pub(crate) fn unwatch(&self, key: &Arc<str>, mailbox: &Arc<Mailbox<Shown>>) {
        {
            let mut state = self.lock();
            let now = self.clock.now();
            let Some(mailboxes) = state.watched.get_mut(key) else { return };
            mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
            if mailboxes.is_empty() {
                state.watched.remove(key);
            }
            state.engine.unsubscribe(now, key);
            self.drain(&mut state, now);
        }
        self.wake.notify_one();
    }

    /// Queues through `act` and makes the receipt before any output about it is passed on.
    pub(crate) fn queue<E>(
        &self,
        act: impl FnOnce(&mut SyncEngine, Millis) -> Result<Queued, E>,
    ) -> Result<Receipt, E> {
        let receipt = {
            let mut state = self.lock();
            let now = self.clock.now();
            let queued = act(&mut state.engine, now);
            let receipt = queued.map(|Queued { seq, id }| {
                let (sender, progress) = watch::channel(Progress::default());
                state.receipts.insert(seq, sender);
                Receipt { id, progress }
            });
            self.drain(&mut state, now);
            receipt
        };
        self.wake.notify_one();
        receipt
    }

    pub(crate) fn ask_once(&self, query: &Query) -> Result<oneshot::Receiver<Shown>, QueryFailure> {
        let receiver = {
            let mut state = self.lock();
            let now = self.clock.now();
            if state.has_ended {
                return Err(QueryFailure::Closed);
            }
            let id = state.engine.query_once(now, query)?;
            let (sender, receiver) = oneshot::channel();
            state.once.insert(id, sender);
            self.drain(&mut state, now);
            receiver
        };
        self.wake.notify_one();
        Ok(receiver)
    }

    pub(crate) fn listen(&self) -> SyncEvents {
        let mailbox = Mailbox::new(Keeps::Queue { max: EVENTS_MAX });
        let mut state = self.lock();
        if state.has_ended {
            mailbox.end();
        }
        state.listeners.retain(|listener| listener.strong_count() > 0);
        state.listeners.push(Arc::downgrade(&mailbox));
        SyncEvents(mailbox)
    }

    pub(crate) fn join_room(
        self: &Arc<Self>,
        kind: &str,
        id: &str,
        presence: PresenceData,
    ) -> Result<RoomHandle, RoomError> {
        let id: Arc<str> = id.into();
        let watched = {
            let mut state = self.lock();
            let now = self.clock.now();
            state.engine.join_room(now, kind, &id, presence)?;
            let watched = state.rooms.join(&id);
            self.drain(&mut state, now);
            watched
        };
        self.wake.notify_one();
        Ok(RoomHandle::new(self.clone(), (kind.into(), id), watched))
    }

    pub(crate) fn leave_room(&self, id: &str) {
        {
            let mut state = self.lock();
            let now = self.clock.now();
            state.rooms.leave(id);
            state.engine.leave_room(now, id);
            self.drain(&mut state, now);
        }
        self.wake.notify_one();
    }

    pub(crate) fn observe_room(&self, id: &str) -> Arc<Mailbox<Arc<Peers>>> {
        self.lock().rooms.observe(id)
    }

    pub(crate) fn listen_in_room(&self, id: &str, topic: &str) -> Arc<Mailbox<Arc<TopicMessage>>> {
        self.lock().rooms.listen(id, topic)
    }

    /// Ends every stream and every waiting.
    pub(crate) fn end(&self, result: Result<(), Arc<str>>) {
        {
            let mut state = self.lock();
            if state.has_ended {
                return;
            }
            let now = self.clock.now();
            state.engine.close(now);
            self.drain(&mut state, now);
            state.end();
        }
        self.status.send_if_modified(|status| {
            let closes = !status.is_offline();
            if closes {
                *status = ConnectionStatus::Closed;
            }
            closes
        });
        self.ended.send_replace(Some(result));
    }
}

impl State {
    fn deliver(&mut self, output: Output) {
        match output {
            Output::Result { query, result } => {
                for mailbox in self.watched.get(&query).into_iter().flatten() {
                    match &result {
                        Ok(_) => mailbox.put(result.clone()),
                        Err(_) => mailbox.put_aside(result.clone()),
                    }
                }
            }
            Output::Answer { id, result } => {
                if let Some(sender) = self.once.remove(&id) {
                    // Nobody may be waiting any more.
                    let _ = sender.send(result);
                }
            }
            Output::Stored { seq, result } => self.progress(seq, |progress| {
                let failure = |message: String| LocalError::Storage { message: message.into() };
                // A failure is not the last word: it is tried again.
                if !matches!(progress.local, Some(Ok(()))) {
                    progress.local = Some(result.map_err(failure));
                }
            }),
            Output::Settled { seq, outcome } => {
                self.progress(seq, |progress| {
                    progress.synced.get_or_insert(outcome.map_err(|error| {
                        error.map_or(SyncedError::Cancelled, SyncedError::Rejected)
                    }));
                })
            }
            Output::Event(event) => {
                self.listeners.retain(|listener| match listener.upgrade() {
                    Some(mailbox) => {
                        mailbox.put(event.clone());
                        true
                    }
                    None => false,
                });
            }
            Output::Room { id, report } => self.rooms.deliver(&id, report),
            // The driver's, taken out before.
            Output::Connect
            | Output::Close
            | Output::Send(_)
            | Output::Persist(_)
            | Output::Status(_)
            | Output::PendingChanged => {}
        }
    }

    fn progress(&mut self, seq: u64, change: impl FnOnce(&mut Progress)) {
        let Some(sender) = self.receipts.get(&seq) else { return };
        sender.send_modify(change);
        let settled = {
            let progress = sender.borrow();
            matches!(progress.local, Some(Ok(()))) && progress.synced.is_some()
        };
        if settled {
            self.receipts.remove(&seq);
        }
    }

    fn end(&mut self) {
        self.has_ended = true;
        for mailbox in self.watched.drain().flat_map(|(_, mailboxes)| mailboxes) {
            mailbox.put_aside(Err(QueryFailure::Closed));
            mailbox.end();
        }
        for (_, sender) in self.receipts.drain() {
            sender.send_modify(|progress| {
                progress.local.get_or_insert(Err(LocalError::Closed));
                progress.synced.get_or_insert(Err(SyncedError::Closed));
            });
        }
        for (_, sender) in self.once.drain() {
            let _ = sender.send(Err(QueryFailure::Closed));
        }
        for listener in self.listeners.drain(..).filter_map(|listener| listener.upgrade()) {
            listener.end();
        }
        self.rooms.end();
        self.jobs.clear();
    }
}
