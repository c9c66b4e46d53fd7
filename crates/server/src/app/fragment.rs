//! Encoded results, shared by every session that holds the query, and the memory they may take.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// The encoded result of a query at some position.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Fragment {
    result: String,
    meta: String,
}

impl Fragment {
    /// `result` and `meta` are JSON.
    pub(super) const fn new(result: String, meta: String) -> Self {
        Self { result, meta }
    }

    pub(super) fn result(&self) -> &str {
        &self.result
    }

    pub(super) fn meta(&self) -> &str {
        &self.meta
    }

    /// Bytes of both parts.
    pub(super) const fn len(&self) -> usize {
        self.result.len() + self.meta.len()
    }

    /// What remains of a fragment that is not kept: enough to tell whether a later one differs. Two
    /// different results of equal length share it once in 2^64 times.
    pub(super) fn digest(&self) -> FragmentDigest {
        // Keyed with constants: only this process compares digests.
        let mut hasher = DefaultHasher::new();
        self.result.hash(&mut hasher);
        self.meta.hash(&mut hasher);
        FragmentDigest { len: self.len(), hash: hasher.finish() }
    }
}

/// The short form of a [`Fragment`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FragmentDigest {
    len: usize,
    hash: u64,
}
