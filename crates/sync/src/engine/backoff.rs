//! How long to wait before the next try.

use std::time::Duration;

/// Exponential growth between two bounds, the upper half of each delay drawn at random so that many
/// clients that lost the same server do not come back as one.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// The delay after one more failure; `random` may be any number.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let ceiling = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        between_half_and_whole(ceiling, random)
    }

    /// The delay when trying again soon is pointless.
    pub(crate) fn longest(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        between_half_and_whole(self.max, random)
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

fn between_half_and_whole(whole: Duration, random: u64) -> Duration {
    let half_ms = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
    whole / 2 + Duration::from_millis(random % half_ms.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_stay_within_their_bounds_and_start_again_after_a_reset() {
        let (min, max) = (Duration::from_millis(200), Duration::from_secs(10));
        for random in [0, 1, 7_777, u64::MAX] {
            let mut backoff = Backoff::new(min, max);
            let mut ceiling = min;
            for _ in 0..100 {
                let delay = backoff.next(random);
                assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?} of {ceiling:?}");
                ceiling = (ceiling * 2).min(max);
            }
            backoff.reset();
            assert!(backoff.next(random) <= min);
            assert!(backoff.longest(random) >= max / 2);
        }
    }

    #[test]
    fn different_draws_give_different_delays() {
        let mut one = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let mut other = one.clone();
        assert_ne!(one.next(3), other.next(333));
    }
}
