//! Peers with something read from what they show.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tricedb_sync::{Peer, Peers};

/// A peer and what was read from its presence.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerAs<T> {
    /// The peer.
    pub peer: Arc<Peer>,
    /// What was read.
    pub data: T,
}

/// The peers of a room whose presence could be read as `T`, in order of ids, live. It ends when the room is
/// left or the client closed.
pub struct PeersAs<T> {
    peers: watch::Receiver<Arc<Peers>>,
    read: Reader<T>,
}

type Reader<T> = Box<dyn Fn(&Peer) -> Option<T> + Send + Sync>;

impl<T> fmt::Debug for PeersAs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersAs").field("peers", &self.peers).finish_non_exhaustive()
    }
}

impl<T> PeersAs<T> {
    pub(super) fn new(
        peers: watch::Receiver<Arc<Peers>>,
        read: impl Fn(&Peer) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Self { peers, read: Box::new(read) }
    }

    /// Those who are there now.
    pub fn current(&mut self) -> Vec<PeerAs<T>> {
        let peers = self.peers.borrow_and_update().clone();
        self.read_all(&peers)
    }

    /// How many are there whose presence could not be read: other programs, other versions.
    pub fn unreadable(&self) -> usize {
        self.peers.borrow().values().filter(|peer| (self.read)(peer).is_none()).count()
    }

    /// Waits for a change since the last look, and gives those who are there then; `None` once the room is
    /// left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<PeerAs<T>>> {
        self.peers.changed().await.ok()?;
        Some(self.current())
    }

    /// Waits until those who are there satisfy a condition; `None` once the room is left or the client
    /// closed. Cancel-safe.
    pub async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&[PeerAs<T>]) -> bool,
    ) -> Option<Vec<PeerAs<T>>> {
        let mut seen = self.current();
        while !condition(&seen) {
            seen = self.next().await?;
        }
        Some(seen)
    }

    fn read_all(&self, peers: &Peers) -> Vec<PeerAs<T>> {
        peers
            .values()
            .filter_map(|peer| Some(PeerAs { peer: peer.clone(), data: (self.read)(peer)? }))
            .collect()
    }
}
