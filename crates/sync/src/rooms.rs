//! Rooms, as a program holds them.
//!
//! What the engine reports of a room goes to its [`Desk`]: the newest peers and status to whoever watches
//! them, messages to the bounded queues of those who listen to their topic. Readers compute joins, updates
//! and leaves from what they saw last, so that a slow one costs no memory and misses only what is no longer
//! true.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use tokio::sync::watch;
use tricedb_protocol::PresenceData;

use crate::engine::{Peer, Peers, RoomError, RoomReport, RoomStatus, TopicMessage};
use crate::mailbox::{Keeps, Mailbox};
use crate::shared::Shared;

/// Most messages of a topic that wait for one reader; the oldest make way.
const MESSAGES_MAX: usize = 256;

/// What one listener has not read yet.
pub(crate) type Messages = Mailbox<Arc<TopicMessage>>;

/// All rooms that a program is in, by id.
#[derive(Debug, Default)]
pub(crate) struct Desks(FxHashMap<Arc<str>, Desk>);

/// Where the reports of one room go.
#[derive(Debug)]
struct Desk {
    /// How many handles there are.
    handles: usize,
    peers: watch::Sender<Arc<Peers>>,
    status: watch::Sender<RoomStatus>,
    observers: Vec<Weak<Mailbox<Arc<Peers>>>>,
    listeners: FxHashMap<Arc<str>, Vec<Weak<Messages>>>,
}

impl Desks {
    /// Counts one more handle of a room.
    pub(crate) fn join(
        &mut self,
        id: &Arc<str>,
    ) -> (watch::Receiver<Arc<Peers>>, watch::Receiver<RoomStatus>) {
        let desk = self.0.entry(id.clone()).or_insert_with(|| Desk {
            handles: 0,
            peers: watch::Sender::default(),
            status: watch::Sender::default(),
            observers: Vec::new(),
            listeners: FxHashMap::default(),
        });
        desk.handles += 1;
        (desk.peers.subscribe(), desk.status.subscribe())
    }

    /// Counts one handle less; the last one ends every stream of the room.
    pub(crate) fn leave(&mut self, id: &str) {
        let Some(desk) = self.0.get_mut(id) else { return };
        desk.handles -= 1;
        if desk.handles == 0
            && let Some(desk) = self.0.remove(id)
        {
            desk.end();
        }
    }

    pub(crate) fn deliver(&mut self, id: &str, report: RoomReport) {
        let Some(desk) = self.0.get_mut(id) else { return };
        match report {
            RoomReport::Status(status) => drop(desk.status.send_replace(status)),
            RoomReport::Peers(peers) => {
                put(&mut desk.observers, &peers);
                desk.peers.send_replace(peers);
            }
            RoomReport::Message(message) => {
                let message = Arc::new(message);
                let Some(listeners) = desk.listeners.get_mut(&message.topic) else { return };
                put(listeners, &message);
                if listeners.is_empty() {
                    desk.listeners.remove(&message.topic);
                }
            }
        }
    }

    pub(crate) fn observe(&mut self, id: &str) -> Arc<Mailbox<Arc<Peers>>> {
        let mailbox = Mailbox::new(Keeps::Latest);
        match self.0.get_mut(id) {
            Some(desk) => {
                mailbox.put(desk.peers.borrow().clone());
                desk.observers.retain(|other| other.strong_count() > 0);
                desk.observers.push(Arc::downgrade(&mailbox));
            }
            None => mailbox.end(),
        }
        mailbox
    }

    pub(crate) fn listen(&mut self, id: &str, topic: &str) -> Arc<Messages> {
        let mailbox = Mailbox::new(Keeps::Queue { max: MESSAGES_MAX });
        match self.0.get_mut(id) {
            Some(desk) => {
                desk.listeners.retain(|_, listeners| {
                    listeners.retain(|other| other.strong_count() > 0);
                    !listeners.is_empty()
                });
                desk.listeners.entry(topic.into()).or_default().push(Arc::downgrade(&mailbox));
            }
            None => mailbox.end(),
        }
        mailbox
    }

    /// Ends every stream of every room.
    pub(crate) fn end(&mut self) {
        for (_, desk) in self.0.drain() {
            desk.end();
        }
    }
}

impl Desk {
    /// Those who watch notice that the senders are gone.
    fn end(self) {
        for mailbox in self.observers.iter().filter_map(Weak::upgrade) {
            mailbox.end();
        }
        for mailbox in self.listeners.values().flatten().filter_map(Weak::upgrade) {
            mailbox.end();
        }
    }
}

/// Puts an item into every mailbox that still has a reader, and forgets the others.
fn put<T: Clone>(mailboxes: &mut Vec<Weak<Mailbox<T>>>, item: &T) {
    mailboxes.retain(|mailbox| match mailbox.upgrade() {
        Some(mailbox) => {
            mailbox.put(item.clone());
            true
        }
        None => false,
    });
}

/// A room that the client is in, as long as this is held. Several handles of one room share what is shown
/// there; the client leaves with the last one.
///
/// Connections come and go without it: the room is entered again by itself with what is shown then, and the
/// peers seen last stay until the list of those present comes.
#[derive(Debug)]
#[must_use = "dropping it leaves the room"]
pub struct RoomHandle {
    shared: Arc<Shared>,
    kind: Arc<str>,
    id: Arc<str>,
    peers: watch::Receiver<Arc<Peers>>,
    status: watch::Receiver<RoomStatus>,
}

impl RoomHandle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (kind, id): (Arc<str>, Arc<str>),
        (peers, status): (watch::Receiver<Arc<Peers>>, watch::Receiver<RoomStatus>),
    ) -> Self {
        Self { shared, kind, id, peers, status }
    }

    /// The room's type.
    pub const fn kind(&self) -> &Arc<str> {
        &self.kind
    }

    /// The room's id.
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How the client stands to the room, now and later. Its sender is gone once the room is left or the
    /// client closed.
    pub fn status(&self) -> watch::Receiver<RoomStatus> {
        self.status.clone()
    }

    /// Waits until the client is in the room and knows who is there; returns at once while that is so.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`RoomError::Refused`] by the server, [`RoomError::Closed`].
    pub async fn joined(&self) -> Result<(), RoomError> {
        let mut status = self.status.clone();
        let decided = status
            .wait_for(|status| matches!(status, RoomStatus::Joined | RoomStatus::Refused(_)))
            .await;
        match decided.as_deref() {
            Ok(RoomStatus::Refused(error)) => Err(RoomError::Refused(error.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(RoomError::Closed),
        }
    }

    /// The others in the room, now and later: a slow reader finds the newest. Its sender is gone once the
    /// room is left or the client closed.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.clone()
    }

    /// Who enters, changes and leaves; first everyone who is there.
    pub fn peer_events(&self) -> PeerEvents {
        let mailbox = self.shared.observe_room(&self.id);
        PeerEvents { mailbox, seen: Arc::default(), unread: VecDeque::new() }
    }

    /// What the client shows.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn presence(&self) -> Result<Arc<PresenceData>, RoomError> {
        self.shared.step(|engine, _| engine.presence(&self.id))
    }

    /// Changes what the others see: keys of `changes` take the place of those before.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn set_presence(&self, changes: PresenceData) -> Result<(), RoomError> {
        self.shared.with(|engine, now| engine.set_presence(now, &self.id, changes))
    }

    /// Like [`Self::set_presence`], but the keys go by themselves after a while, unless they are set again.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn set_presence_for(&self, changes: PresenceData, span: Duration) -> Result<(), RoomError> {
        self.shared.with(|engine, now| engine.set_presence_for(now, &self.id, changes, span))
    }

    /// Takes keys out of what the others see.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn remove_presence(&self, keys: &[&str]) -> Result<(), RoomError> {
        self.shared.with(|engine, now| engine.remove_presence(now, &self.id, keys))
    }

    /// Tells the others something; see [`crate::SyncEngine::publish`].
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn publish(&self, topic: &str, data: Json) -> Result<(), RoomError> {
        self.shared.with(|engine, now| engine.publish(now, &self.id, topic, data))
    }

    /// How many messages that waited for the room to be entered had to make way for later ones.
    pub fn unsent_dropped(&self) -> u64 {
        self.shared.step(|engine, _| engine.unsent_dropped(&self.id))
    }

    /// What the others tell under a topic from now on.
    pub fn subscribe(&self, topic: &str) -> TopicMessages {
        TopicMessages(self.shared.listen_in_room(&self.id, topic))
    }
}

impl Drop for RoomHandle {
    fn drop(&mut self) {
        self.shared.leave_room(&self.id);
    }
}

/// What the others tell under one topic. A reader that falls behind by more than 256 messages misses the
/// oldest, and [`Self::missed`] counts them. Ends when the room is left or the client closed.
#[derive(Debug)]
pub struct TopicMessages(Arc<Messages>);

impl TopicMessages {
    /// Waits for the next message; `None` once the room is left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<TopicMessage>> {
        std::future::poll_fn(|context| self.0.poll(context)).await
    }

    /// How many messages this reader was too slow for.
    pub fn missed(&self) -> u64 {
        self.0.missed()
    }
}

impl Stream for TopicMessages {
    type Item = Arc<TopicMessage>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll(context)
    }
}

/// A change of who is in a room, or of what they show.
#[derive(Clone, PartialEq, Debug)]
pub enum PeerEvent {
    /// Somebody is there who was not.
    Joined(Arc<Peer>),
    /// Somebody shows something else.
    Updated {
        /// Now.
        peer: Arc<Peer>,
        /// When this reader last looked.
        before: Arc<Peer>,
    },
    /// Somebody is not there any more; as seen last.
    Left(Arc<Peer>),
}

impl PeerEvent {
    /// The peer, as it is now, or was last.
    pub const fn peer(&self) -> &Arc<Peer> {
        match self {
            Self::Joined(peer) | Self::Updated { peer, .. } | Self::Left(peer) => peer,
        }
    }
}

/// Who enters, changes and leaves; first everyone who is there. A slow reader gets the differences to what
/// it knows, not every step between. Ends when the room is left or the client closed.
#[derive(Debug)]
pub struct PeerEvents {
    mailbox: Arc<Mailbox<Arc<Peers>>>,
    seen: Arc<Peers>,
    unread: VecDeque<PeerEvent>,
}

impl PeerEvents {
    /// Waits for the next event; `None` once the room is left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<PeerEvent> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        loop {
            if let Some(event) = self.unread.pop_front() {
                return Poll::Ready(Some(event));
            }
            let Some(peers) = ready!(self.mailbox.poll(context)) else { return Poll::Ready(None) };
            let before = std::mem::replace(&mut self.seen, peers);
            self.unread.extend(differences(&before, &self.seen));
        }
    }
}

impl Stream for PeerEvents {
    type Item = PeerEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerEvent>> {
        self.get_mut().poll(context)
    }
}

/// Those who left come first.
fn differences(before: &Peers, after: &Peers) -> Vec<PeerEvent> {
    let left = before.iter().filter(|(id, _)| !after.contains_key(*id));
    let mut events: Vec<PeerEvent> = left.map(|(_, peer)| PeerEvent::Left(peer.clone())).collect();
    for (id, peer) in after {
        match before.get(id) {
            None => events.push(PeerEvent::Joined(peer.clone())),
            // Peers that did not change are shared between the two.
            Some(old) if Arc::ptr_eq(old, peer) || old == peer => {}
            Some(old) => {
                events.push(PeerEvent::Updated { peer: peer.clone(), before: old.clone() });
            }
        }
    }
    events
}
