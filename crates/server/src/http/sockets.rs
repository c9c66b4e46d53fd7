//! The tasks of open sockets.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;

/// Keeps track of the tasks of open sockets, so that a server can wait for them and then end them.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Says `true` when those that still run are to be dropped. Each task holds a receiver.
    ending: watch::Sender<bool>,
}

impl Sockets {
    pub(crate) fn new() -> Self {
        Self { ending: watch::channel(false).0 }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.ending.receiver_count()
    }

    pub(crate) fn spawn(&self, socket: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let mut ending = self.ending.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = socket => {}
                // An error means that the server is gone, which ends the socket too.
                _ = ending.wait_for(|ending| *ending) => {}
            }
        });
    }

    /// Waits until all are closed; ends those that take longer than `drain_max`.
    pub(crate) async fn drain(&self, drain_max: Duration) {
        if tokio::time::timeout(drain_max, self.ending.closed()).await.is_err() {
            tracing::info!(target: "tricedb::server", sockets = self.count(), "dropping sockets");
            self.ending.send_replace(true);
            self.ending.closed().await;
        }
    }
}
