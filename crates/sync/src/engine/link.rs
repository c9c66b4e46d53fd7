//! The connection's life: when to connect, when to give up, how long to wait.

use std::time::Duration;

use super::backoff::Backoff;
use super::millis::Millis;
use super::report::ConnectionStatus;

/// Longest time for a connection to open, and for the session to open on it.
const OPENING_MAX: Duration = Duration::from_secs(15);

/// The shortest first delay.
const DELAY_MIN: Duration = Duration::from_millis(20);

/// A session that lasted this long counts as a success: the next failure starts with short delays.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// The state of the connection. Nothing of it survives a restart.
#[derive(Debug)]
pub(crate) struct Link {
    state: State,
    is_enabled: bool,
    is_wanted: bool,
    backoff: Backoff,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Switched off, or disconnected on purpose.
    Idle,
    Waiting {
        until: Millis,
        refused: bool,
    },
    Connecting {
        since: Millis,
    },
    Opened {
        since: Millis,
    },
    Authenticated {
        since: Millis,
    },
}

/// What the passing of time asks of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LinkDue {
    Connect,
    GiveUp { reason: &'static str },
}

impl Link {
    pub(crate) fn new(is_enabled: bool, min: Duration, max: Duration) -> Self {
        // Without any delay a refused connection would be tried in a tight loop.
        let min = min.max(DELAY_MIN);
        let max = max.max(min);
        Self { state: State::Idle, is_enabled, is_wanted: true, backoff: Backoff::new(min, max) }
    }

    pub(crate) const fn status(&self) -> ConnectionStatus {
        match self.state {
            _ if !self.is_enabled => ConnectionStatus::Disabled,
            State::Idle | State::Waiting { refused: false, .. } => ConnectionStatus::Closed,
            State::Waiting { refused: true, .. } => ConnectionStatus::Errored,
            State::Connecting { .. } => ConnectionStatus::Connecting,
            State::Opened { .. } => ConnectionStatus::Opened,
            State::Authenticated { .. } => ConnectionStatus::Authenticated,
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        matches!(self.state, State::Opened { .. } | State::Authenticated { .. })
    }

    pub(crate) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// Since when the session is open.
    pub(crate) const fn authenticated_since(&self) -> Option<Millis> {
        match self.state {
            State::Authenticated { since } => Some(since),
            _ => None,
        }
    }

    /// Changes what is wanted of the connection. Returns whether an existing one must be closed.
    pub(crate) fn want(
        &mut self,
        enabled: Option<bool>,
        connected: Option<bool>,
        now: Millis,
    ) -> bool {
        self.is_enabled = enabled.unwrap_or(self.is_enabled);
        self.is_wanted = connected.unwrap_or(self.is_wanted);
        if self.is_enabled && self.is_wanted {
            // Asking for it ends any waiting.
            if matches!(self.state, State::Idle | State::Waiting { .. }) {
                self.backoff.reset();
                self.state = State::Waiting { until: now, refused: false };
            }
            return false;
        }
        let had = self.is_connecting() || self.is_connected();
        self.state = State::Idle;
        had
    }

    pub(crate) const fn connecting(&mut self, now: Millis) {
        self.state = State::Connecting { since: now };
    }

    pub(crate) const fn opened(&mut self, now: Millis) {
        self.state = State::Opened { since: now };
    }

    pub(crate) const fn authenticated(&mut self, now: Millis) {
        self.state = State::Authenticated { since: now };
    }

    /// The connection ended. Returns the wait before the next try.
    pub(crate) fn lost(&mut self, now: Millis, random: u64) -> Duration {
        if self.authenticated_since().is_some_and(|since| now.since(since) >= SETTLED_AFTER) {
            self.backoff.reset();
        }
        let wait = self.backoff.next(random);
        self.state = State::Waiting { until: now.plus(wait), refused: false };
        wait
    }

    /// The server refused the session, or the address makes no sense. Returns the wait before the next try.
    pub(crate) fn refused(&mut self, now: Millis, random: u64) -> Duration {
        let wait = self.backoff.longest(random);
        self.state = State::Waiting { until: now.plus(wait), refused: true };
        wait
    }

    pub(crate) fn deadline(&self) -> Option<Millis> {
        match self.state {
            State::Idle | State::Authenticated { .. } => None,
            State::Waiting { until, .. } => Some(until),
            State::Connecting { since } | State::Opened { since } => Some(since.plus(OPENING_MAX)),
        }
    }

    pub(crate) fn due(&self, now: Millis) -> Option<LinkDue> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        Some(match self.state {
            State::Connecting { .. } => LinkDue::GiveUp { reason: "no connection in time" },
            State::Opened { .. } => {
                LinkDue::GiveUp { reason: "the server did not open the session" }
            }
            State::Idle | State::Waiting { .. } | State::Authenticated { .. } => LinkDue::Connect,
        })
    }
}
