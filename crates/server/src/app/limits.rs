//! How much one app may use.

use std::time::Duration;

use crate::rooms::RoomLimits;

/// Bounds of one app. Every queue and cache of an app has its bound here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppLimits {
    /// Sessions at a time; further ones are refused.
    pub sessions_max: usize,
    /// Queries that one session may hold; further ones are refused.
    pub subscriptions_per_session_max: usize,
    /// Steps of one transaction; larger ones are refused.
    pub steps_per_transaction_max: usize,
    /// Attributes, soft-deleted ones included; a transaction that makes more is refused. Every client holds
    /// all of them.
    pub attrs_max: usize,
    /// How long the outcome of a named transaction is remembered. A resend after that runs again.
    pub outcome_retention: Duration,
    /// Outcomes remembered at most, about 80 bytes each; the oldest go first.
    pub outcomes_max: usize,
    /// Bytes of encoded results kept for sharing; what is beyond is encoded again when needed.
    pub fragment_bytes_max: usize,
    /// Bytes that may wait for one slow reader. Beyond it the session gets no refreshes until it has read;
    /// then it gets one that covers what it missed. Answers to its own messages still queue, but no more
    /// of its messages are read.
    pub outbound_bytes_max: usize,
    /// Messages that may wait for the app, over all sessions; senders wait beyond it.
    pub inbound_messages_max: usize,
    /// Bytes of messages that may wait for the app, over all sessions; senders wait beyond it.
    pub inbound_bytes_max: usize,
    /// A snapshot is taken after this many changes of facts, or after half as many as there are facts,
    /// whichever is more.
    pub snapshot_changes_min: usize,
    /// Bounds of its rooms.
    pub rooms: RoomLimits,
}

impl Default for AppLimits {
    fn default() -> Self {
        Self {
            sessions_max: 50_000,
            subscriptions_per_session_max: 1_000,
            steps_per_transaction_max: 100_000,
            attrs_max: 20_000,
            outcome_retention: Duration::from_secs(7 * 24 * 3600),
            outcomes_max: 1_000_000,
            fragment_bytes_max: 64 << 20,
            outbound_bytes_max: 1 << 20,
            inbound_messages_max: 1_024,
            inbound_bytes_max: 64 << 20,
            snapshot_changes_min: 50_000,
            rooms: RoomLimits::default(),
        }
    }
}
