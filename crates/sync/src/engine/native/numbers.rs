//! The numbers of transactions: each is used once, whatever is lost in a crash.

use crate::engine::SyncEngine;
use crate::engine::millis::Millis;

/// Key under which the reserved number is kept.
pub(super) const KEY: &str = "numbers";

/// How many numbers are reserved at a time.
const BLOCK: u64 = 1 << 16;

/// A server takes a number for the transaction that it first came with. So before one is used, the storage
/// holds that all up to it may have been; after a restart they go on behind.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// All up to this may have been used by an earlier run.
    pub(crate) used: u64,
    /// On its way to the storage, or there.
    reserved: u64,
    /// In the storage.
    durable: u64,
}

impl Numbers {
    pub(super) fn restore(value: Option<&[u8]>) -> Self {
        let used = value.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        Self { used, reserved: used, durable: used }
    }

    /// Whether a transaction may be sent under this number.
    pub(crate) const fn may_use(&self, seq: u64) -> bool {
        seq <= self.durable
    }

    /// A batch with this entry became durable.
    pub(crate) fn stored(&mut self, key: &str, value: Option<&[u8]>) {
        let number = value.filter(|_| key == KEY).and_then(|bytes| bytes.try_into().ok());
        if let Some(number) = number.map(u64::from_le_bytes) {
            self.durable = self.durable.max(number);
        }
    }
}

impl SyncEngine {
    /// Reserves numbers before they run out.
    pub(in crate::engine) fn reserve_numbers(&mut self, now: Millis) {
        let next = self.outbox.last_seq().max(self.native.numbers.used);
        if next + BLOCK / 2 > self.native.numbers.reserved {
            let reserved = next + BLOCK;
            self.native.numbers.reserved = reserved;
            self.ledger.key_value_now(KEY, reserved.to_le_bytes().to_vec(), now);
        }
    }
}
