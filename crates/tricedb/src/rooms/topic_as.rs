//! Messages of a topic, read as a type.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use serde::de::DeserializeOwned;
use tricedb_sync::{Peer, RoomError, TopicMessage, TopicMessages};

/// What another member told.
#[derive(Clone, PartialEq, Debug)]
pub struct MessageAs<T> {
    /// The id of the session that told it.
    pub peer_id: Arc<str>,
    /// What that showed when its message came; `None` if it was not seen yet, or not any more.
    pub peer: Option<Arc<Peer>>,
    /// What it told.
    pub data: T,
}

/// What the others tell under one topic, read as `T`. A message of another form is an `Err` and does not end
/// the stream. A reader that falls behind by more than 256 messages misses the oldest.
pub struct MessagesAs<T> {
    messages: TopicMessages,
    form: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for MessagesAs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagesAs").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned> MessagesAs<T> {
    pub(super) const fn new(messages: TopicMessages) -> Self {
        Self { messages, form: PhantomData }
    }

    /// Waits for the next message; `None` once the room is left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<MessageAs<T>, RoomError>> {
        self.messages.next().await.map(|message| read(&message))
    }

    /// How many messages this reader was too slow for.
    pub fn missed(&self) -> u64 {
        self.messages.missed()
    }
}

impl<T: DeserializeOwned> Stream for MessagesAs<T> {
    type Item = Result<MessageAs<T>, RoomError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.get_mut().messages).poll_next(context);
        next.map(|next| next.map(|message| read(&message)))
    }
}

fn read<T: DeserializeOwned>(message: &TopicMessage) -> Result<MessageAs<T>, RoomError> {
    match T::deserialize(&message.data) {
        Ok(data) => {
            Ok(MessageAs { peer_id: message.peer_id.clone(), peer: message.peer.clone(), data })
        }
        Err(error) => Err(RoomError::NotJson {
            reason: format!("a message of topic `{}`: {error}", message.topic),
        }),
    }
}
