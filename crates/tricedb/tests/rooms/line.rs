//! A line to a server that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes connections on to a server until it is cut; goes on with new ones. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    address: SocketAddr,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Line {
    /// A line to `server`, an address of this machine.
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let connections = connections.clone();
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    connections.lock().unwrap().spawn(async move {
                        let Ok(mut far) = TcpStream::connect(server).await else { return };
                        // Whichever way it ends, both ends go.
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            }
        });
        Self { address, connections, _accepting: accepting }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection wherever it is, in the middle of a message too.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}
