//! The driver's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::engine::Millis;

/// Wall-clock time at the start, carried on by a monotonic clock: it never runs backwards.
#[derive(Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_at: Millis,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the engine's time comes from"
    )]
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at = Millis(0).plus(since_1970);
        Self { started: Instant::now(), started_at }
    }

    pub(crate) fn now(&self) -> Millis {
        self.started_at.plus(self.started.elapsed())
    }
}
