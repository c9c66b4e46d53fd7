//! How far a walk along an order may go before a look at everything is the better bet.

use crate::index::Handle;

/// What a walk has cost and found. A row near the one before costs as much as one in a scan; any other
/// costs more, because nothing has it at hand.
#[derive(Debug)]
pub(super) struct Budget {
    /// Rows of a scan; `None` if the walk is the only way.
    all: Option<u64>,
    wanted: u64,
    rows: u64,
    cost: u64,
    found: u64,
    last: u32,
}

/// The walk is not worth going on with.
#[derive(Debug)]
pub(super) struct Exhausted;

/// Rows that may be passed before anything is concluded from them.
const FREE_ROWS: u64 = 256;
/// Handles this close to each other were made together, and their rows lie together.
const NEAR: u32 = 16;
/// What a row costs that is not near.
const FAR_COST: u64 = 6;
/// Part of a scan that may be lost on a walk in vain.
const PART: u64 = 4;

impl Budget {
    /// For a walk that nothing could replace.
    pub(super) const fn unlimited() -> Self {
        Self { all: None, wanted: 0, rows: 0, cost: 0, found: 0, last: 0 }
    }

    /// For a walk to so many matches where there are so many rows.
    pub(super) const fn new(all: u64, wanted: usize) -> Self {
        Self { all: Some(all), wanted: wanted as u64, ..Self::unlimited() }
    }

    /// Accounts for a row. Fails if the walk has lost its part of a scan, or if it will cost more than half
    /// of one when matches go on as they came so far.
    #[inline]
    pub(super) fn pass(&mut self, row: Handle) -> Result<(), Exhausted> {
        let Some(all) = self.all else { return Ok(()) };
        let is_near = row.0.abs_diff(self.last) <= NEAR;
        self.last = row.0;
        self.cost += if is_near { 1 } else { FAR_COST };
        self.rows += 1;
        if self.rows <= FREE_ROWS {
            return Ok(());
        }
        let expected = self.cost.saturating_mul(self.wanted);
        let affordable = (self.found + 1).saturating_mul(all / 2);
        if self.cost > all / PART || expected > affordable { Err(Exhausted) } else { Ok(()) }
    }

    /// Notes a match.
    #[inline]
    pub(super) const fn found(&mut self) {
        self.found += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that a walk passes before it ends, where every `match_each`th row matches and handles are `apart`.
    fn walked(all: u64, wanted: usize, match_each: u32, apart: u32) -> Result<u32, u32> {
        let mut budget = Budget::new(all, wanted);
        for row in 1..=u32::try_from(all).unwrap() {
            if budget.pass(Handle(row.wrapping_mul(apart))).is_err() {
                return Err(row);
            }
            if row % match_each == 0 {
                budget.found();
                if budget.found == wanted as u64 {
                    return Ok(row);
                }
            }
        }
        Err(u32::MAX)
    }

    #[test]
    fn a_walk_ends_early_where_a_scan_is_better() {
        assert_eq!(walked(100_000, 50, 4, 1), Ok(200));
        assert_eq!(walked(100_000, 50, 200, 1), Ok(10_000));
        assert_eq!(walked(100_000, 50, 4, 1_000), Ok(200));
        // Rare, and far from each other: hopeless at once. Rare and near: after one part in a hundred.
        assert_eq!(walked(100_000, 50, 1_000_000, 1_000), Err(257));
        assert_eq!(walked(100_000, 50, 1_000_000, 1), Err(1_001));
        assert!(walked(100_000, 50, 200, 1_000).is_err_and(|rows| rows < 2_000));
        // Whatever happens, a walk in vain costs a part of a scan.
        assert!(walked(100_000, 50, 1_000, 1).is_err_and(|rows| rows <= 25_001));
    }

    #[test]
    fn few_rows_are_always_walked() {
        assert_eq!(walked(200, 10, 1_000, 1_000), Err(u32::MAX));
        let mut budget = Budget::unlimited();
        assert!((0..100_000).all(|row| budget.pass(Handle(row)).is_ok()));
    }
}
