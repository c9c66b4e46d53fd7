//! How much the rooms of one app may use.

use std::time::Duration;

/// Bounds of the rooms of one app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomLimits {
    /// Rooms that one session may be in; further ones are refused.
    pub rooms_per_session_max: usize,
    /// Sessions that may be in one room; further ones are refused.
    pub members_per_room_max: usize,
    /// Bytes of one member's presence as JSON; larger ones are refused.
    pub presence_bytes_max: usize,
    /// Bytes of the presence of all members of all rooms together; what is beyond is refused.
    pub total_presence_bytes_max: usize,
    /// Bytes of a room's id, of its type, and of a topic.
    pub name_bytes_max: usize,
    /// Bytes of what a member tells the others at a time, as JSON; more is refused.
    pub broadcast_bytes_max: usize,
    /// Messages of topics that wait for a slow reader; the oldest make way.
    pub broadcasts_waiting_max: usize,
    /// Bytes of such messages that wait for a slow reader; the oldest make way.
    pub broadcast_bytes_waiting_max: usize,
    /// The shortest time between two messages about changed presence in one room.
    pub tick: Duration,
    /// Bytes a second that changed presence in one room may cost, over all its members: the time to the
    /// next message follows from the size of the last.
    pub presence_bytes_per_second: u64,
    /// Messages a second that changed presence in one room may cost, over all its members.
    pub presence_messages_per_second: u64,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            rooms_per_session_max: 100,
            members_per_room_max: 10_000,
            presence_bytes_max: 64 << 10,
            total_presence_bytes_max: 256 << 20,
            name_bytes_max: 512,
            broadcast_bytes_max: 64 << 10,
            broadcasts_waiting_max: 256,
            broadcast_bytes_waiting_max: 256 << 10,
            tick: Duration::from_millis(20),
            presence_bytes_per_second: 128 << 20,
            presence_messages_per_second: 20_000,
        }
    }
}

impl RoomLimits {
    /// How long a room rests after so much was sent for it.
    pub(super) fn rest(&self, bytes: usize, messages: usize) -> Duration {
        let share = |amount: usize, per_second: u64| {
            let amount = u64::try_from(amount).unwrap_or(u64::MAX);
            Duration::from_micros(amount.saturating_mul(1_000_000) / per_second.max(1))
        };
        self.tick
            .max(share(bytes, self.presence_bytes_per_second))
            .max(share(messages, self.presence_messages_per_second))
    }
}
