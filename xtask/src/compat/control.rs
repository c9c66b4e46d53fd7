//! The restart of the server on request of a case, which runs in another process.
//!
//! A case runs a shell command; the command connects to a loopback port of this program; the
//! answer is one line, sent once the server serves again.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::server::Server;

/// Why a restart could not be offered, or was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ControlError {
    /// No port to listen on, or this program does not know its own path.
    #[error("cannot offer the restart of the server")]
    Offer(#[source] io::Error),
    /// Nobody listens at the given address, or it broke off.
    #[error("no answer from the run that owns the server at {address}")]
    Unreachable {
        /// Where it was expected.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The owner of the server answered that it could not restart it.
    #[error("the server was not restarted: {0}")]
    Refused(String),
}

/// An offer to restart a server.
#[derive(Debug)]
pub(crate) struct Control {
    command: String,
}

impl Control {
    /// Listens for requests for as long as the server exists.
    ///
    /// # Errors
    /// [`ControlError::Offer`].
    pub(crate) fn listen(server: &Arc<Server>) -> Result<Self, ControlError> {
        let program = env::current_exe().map_err(ControlError::Offer)?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(ControlError::Offer)?;
        let address = listener.local_addr().map_err(ControlError::Offer)?;
        let server = Arc::downgrade(server);
        thread::spawn(move || serve(&listener, &server));
        Ok(Self { command: format!("{} restart-server {address}", quote(&program)) })
    }

    /// The shell command that asks for a restart and returns when it is done.
    pub(crate) fn command(&self) -> String {
        self.command.clone()
    }
}

/// Asks the owner of a server at `address` to restart it.
///
/// # Errors
/// [`ControlError::Unreachable`], [`ControlError::Refused`].
pub(crate) fn request(address: &str) -> Result<(), ControlError> {
    let unreachable = |source| ControlError::Unreachable { address: address.to_owned(), source };
    let mut stream = TcpStream::connect(address).map_err(unreachable)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(unreachable)?;
    stream.shutdown(Shutdown::Write).map_err(unreachable)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(unreachable)?;
    match answer.trim() {
        DONE => Ok(()),
        refusal => Err(ControlError::Refused(refusal.to_owned())),
    }
}

const DONE: &str = "restarted";
const ANSWER_LIMIT: Duration = Duration::from_secs(55);

fn serve(listener: &TcpListener, server: &Weak<Server>) {
    for stream in listener.incoming() {
        let (Ok(mut stream), Some(server)) = (stream, server.upgrade()) else { return };
        let answer = match server.restart() {
            Ok(()) => DONE.to_owned(),
            Err(error) => error.to_string(),
        };
        // A requester that is gone has nobody to tell.
        _ = writeln!(stream, "{answer}");
    }
}

/// The path as one word of a POSIX shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn a_request_to_nobody_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(matches!(request(&address), Err(ControlError::Unreachable { .. })));
    }
}
