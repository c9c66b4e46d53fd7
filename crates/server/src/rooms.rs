//! Rooms: sessions that see each other's presence and tell each other things in passing.
//!
//! `Rooms` is the whole of it for one app, as a state machine: no clock, no sockets, nothing durable.
//! Messages only change it; `Rooms::flush` tells the members what changed since they were last told,
//! so that many updates in between cost one message. A room is flushed at once after a quiet time, and then
//! the less often the more a flush of it costs: see [`RoomLimits`].
//!
//! A room is known by its type and id. Official clients name rooms by id alone in everything but
//! `join-room`; so a session is in at most one room of an id.

mod encode;
mod limits;
mod member;
mod patch;
mod policy;
mod room;
mod state;

pub use limits::RoomLimits;
pub use policy::{AllowAll, RoomAction, RoomPolicy, RoomRequest};
pub(crate) use state::{Entrant, Rooms};

#[cfg(test)]
mod tests;
