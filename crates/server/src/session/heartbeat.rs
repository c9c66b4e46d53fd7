//! When to ping a silent peer, and when to give it up.

use std::time::Duration;

/// Pings at a fixed pace, and gives up a peer that has not been heard of for too long. Times are spans
/// since the connection began.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    ping_every: Duration,
    idle_max: Duration,
    last_heard: Duration,
    next_ping: Duration,
}

/// What to do at a beat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beat {
    /// Send a ping; ask again at [`Heartbeat::next_beat`].
    Ping,
    /// Nothing yet; ask again at [`Heartbeat::next_beat`].
    Wait,
    /// The peer is gone: drop the connection.
    GiveUp,
}

impl Heartbeat {
    /// A connection that begins now.
    pub const fn new(ping_every: Duration, idle_max: Duration) -> Self {
        Self { ping_every, idle_max, last_heard: Duration::ZERO, next_ping: ping_every }
    }

    /// The peer sent something, or took something.
    pub const fn heard(&mut self, now: Duration) {
        self.last_heard = now;
    }

    /// When to call [`Self::beat`] next.
    pub const fn next_beat(&self) -> Duration {
        self.next_ping
    }

    /// To be called at [`Self::next_beat`].
    pub fn beat(&mut self, now: Duration) -> Beat {
        if now < self.next_ping {
            return Beat::Wait;
        }
        if now.saturating_sub(self.last_heard) >= self.idle_max {
            return Beat::GiveUp;
        }
        self.next_ping = now + self.ping_every;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_at_its_pace_and_gives_up_the_silent() {
        let s = Duration::from_secs;
        let mut heart = Heartbeat::new(s(5), s(15));
        assert_eq!((heart.next_beat(), heart.beat(s(4))), (s(5), Beat::Wait));
        assert_eq!(heart.beat(s(5)), Beat::Ping);
        heart.heard(s(6));
        assert_eq!(heart.beat(s(10)), Beat::Ping);
        assert_eq!(heart.beat(s(15)), Beat::Ping);
        assert_eq!(heart.beat(s(20)), Beat::Ping);
        assert_eq!(heart.beat(s(25)), Beat::GiveUp);
    }
}
