//! Where the bugs on purpose of `tricedb_core::mutant` are; nothing of it without the feature `mutants`.

/// Whether results may go back.
#[cfg(not(feature = "mutants"))]
pub(super) const fn goes_back() -> bool {
    false
}

#[cfg(feature = "mutants")]
pub(super) use planted::{Held, goes_back, lose_one};

#[cfg(feature = "mutants")]
mod planted {
    use tricedb_core::id::TxId;
    use tricedb_core::mutant::Mutant;
    use tricedb_protocol::RefreshOk;
    use tricedb_protocol::native::Part;

    /// What waits to be applied too late.
    #[derive(Debug, Default)]
    pub(crate) struct Held {
        refresh: Option<RefreshOk>,
        parts: Option<(Vec<Part>, TxId)>,
    }

    impl Held {
        /// The refreshes to apply now, in this order.
        pub(crate) fn refreshes(&mut self, refresh: RefreshOk) -> Vec<RefreshOk> {
            if !goes_back() || refresh.attrs.is_some() {
                return vec![refresh];
            }
            match self.refresh.take() {
                Some(held) => vec![refresh, held],
                None => {
                    self.refresh = Some(refresh);
                    Vec::new()
                }
            }
        }

        /// The parts to apply now, in this order, each with its position.
        pub(crate) fn parts(&mut self, parts: Vec<Part>, to: TxId) -> Vec<(Part, TxId)> {
            let with = |parts: Vec<Part>, to| parts.into_iter().map(move |part| (part, to));
            if !goes_back() || parts.is_empty() {
                return with(parts, to).collect();
            }
            match self.parts.take() {
                Some((held, at)) => with(parts, to).chain(with(held, at)).collect(),
                None => {
                    self.parts = Some((parts, to));
                    Vec::new()
                }
            }
        }
    }

    pub(crate) fn goes_back() -> bool {
        Mutant::OutOfOrder.is_planted()
    }

    /// All but the last of several facts.
    pub(crate) fn lose_one<T>(facts: &[T]) -> &[T] {
        match facts {
            [all_but_one @ .., _] if facts.len() > 3 && Mutant::DropFact.is_planted() => {
                all_but_one
            }
            facts => facts,
        }
    }
}
