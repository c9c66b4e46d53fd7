//! One socket of one client: the protocol before and around an app's session, and the socket itself.
//!
//! [`serve_socket`] speaks WebSocket on any byte stream that has been upgraded; [`upgrade`] takes over an
//! HTTP request's. The rules are in two small machines without a clock: who may say what before `init`
//! ([`Opening`]), and when to ping and give up ([`Heartbeat`]).

mod apps;
mod frame_tracker;
mod heartbeat;
mod opening;
mod serve;
mod socket;
mod upgrade;

pub use apps::{Apps, OpenAppError};
pub use heartbeat::{Beat, Heartbeat};
pub use opening::{Opening, Step};
pub use serve::serve_socket;
pub use socket::SocketLimits;
pub use upgrade::{Upgrade, upgrade};

#[cfg(test)]
mod tests;
