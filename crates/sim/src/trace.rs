//! What happened, as one number and, on request, in words.

use std::fmt;
use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Everything that happens in a run goes through here: two runs with the same hash did the same.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: FxHasher,
    events: u64,
    /// Kept only for a story.
    lines: Option<Vec<String>>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} events, {:016x})", self.events, self.hasher.finish())
    }
}

impl Trace {
    /// With `tells`, what happens is also kept in words.
    pub(crate) fn new(tells: bool) -> Self {
        Self { lines: tells.then(Vec::new), ..Self::default() }
    }

    /// Notes an event by its kind, the time, whom it concerns, and bytes that were moved.
    pub(crate) fn note(&mut self, kind: &str, now: u64, who: u64, bytes: &[u8]) {
        self.events += 1;
        self.hasher.write(kind.as_bytes());
        self.hasher.write_u64(now);
        self.hasher.write_u64(who);
        self.hasher.write(bytes);
    }

    /// Notes in words, which are made only if somebody reads them.
    pub(crate) fn tell(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3} s  {}", now as f64 / 1_000.0, line()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish() ^ self.events
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
