//! Points in time, as the engine is told them.

use std::time::Duration;

/// Milliseconds since 1970 by the client's clock.
///
/// The driver derives them from a monotonic clock that it sets by the wall clock once, so that they never
/// run backwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// The point a while later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let add = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(add))
    }

    /// The time since an earlier point; zero if that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}
