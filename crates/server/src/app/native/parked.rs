//! Native sessions that ended, kept for a while: their clients come back and go on without saying anew
//! what they subscribe to.

use std::collections::{HashMap, VecDeque};

use rustc_hash::FxBuildHasher;
use uuid::Uuid;

use super::reader::ParkedSession;

const KEPT_MS: i64 = 5 * 60 * 1_000;
const COUNT_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::app) struct Parked {
    by_client: HashMap<Uuid, (Number, ParkedSession), FxBuildHasher>,
    /// In the order of ending; a client may stand here more than once.
    order: VecDeque<Ended>,
    last: Number,
}

/// Counts ends of sessions.
type Number = u64;

#[derive(Debug)]
struct Ended {
    client: Uuid,
    number: Number,
    /// When that was noticed, in milliseconds since 1970: connections end without a clock, so that it is
    /// with the next session that begins.
    noticed: Option<i64>,
}

impl Parked {
    pub(super) fn park(&mut self, client: Uuid, session: ParkedSession) {
        self.last += 1;
        if session.subs.is_empty() {
            self.by_client.remove(&client);
            return;
        }
        self.order.push_back(Ended { client, number: self.last, noticed: None });
        self.by_client.insert(client, (self.last, session));
        while self.order.len() > COUNT_MAX {
            self.forget_oldest();
        }
    }

    /// Takes a client's last session, if it is not too long ago.
    pub(super) fn take(&mut self, client: Uuid, now: i64) -> Option<ParkedSession> {
        for ended in self.order.iter_mut().rev() {
            if ended.noticed.is_some() {
                break;
            }
            ended.noticed = Some(now);
        }
        while self
            .order
            .front()
            .is_some_and(|oldest| oldest.noticed.is_some_and(|at| at < now.saturating_sub(KEPT_MS)))
        {
            self.forget_oldest();
        }
        self.by_client.remove(&client).map(|(_, session)| session)
    }

    fn forget_oldest(&mut self) {
        let Some(Ended { client, number, .. }) = self.order.pop_front() else { return };
        if self.by_client.get(&client).is_some_and(|(kept, _)| *kept == number) {
            self.by_client.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tricedb_core::query::parse;
    use tricedb_protocol::native::SubId;

    fn session() -> ParkedSession {
        let query = parse(&json!({"todos": {}})).unwrap();
        let canonical = query.canonical();
        ParkedSession { is_admin: false, subs: vec![(SubId(1), query, canonical)] }
    }

    #[test]
    fn a_session_is_kept_for_a_while_after_its_end_was_noticed() {
        let mut parked = Parked::default();
        let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
        parked.park(a, session());
        parked.park(b, session());
        assert!(parked.take(a, 1_000_000).is_some());
        assert!(parked.take(a, 1_000_000).is_none(), "once");
        parked.park(c, session());
        assert!(parked.take(c, 1_000_000 + KEPT_MS).is_some());
        parked.park(c, session());
        assert!(parked.take(b, 1_000_001 + KEPT_MS).is_none(), "too late");
        assert!(parked.take(c, 1_000_001 + KEPT_MS).is_some());
        assert!(parked.by_client.is_empty());
    }

    #[test]
    fn the_latest_end_of_a_client_counts_and_there_are_only_so_many() {
        let mut parked = Parked::default();
        let again = Uuid::from_u128(7);
        parked.park(again, session());
        for n in 0..COUNT_MAX as u128 {
            parked.park(Uuid::from_u128(100 + n), session());
        }
        assert_eq!(parked.by_client.len(), COUNT_MAX);
        assert!(parked.take(again, 0).is_none());
        parked.park(again, session());
        parked.park(again, ParkedSession { subs: Vec::new(), ..session() });
        assert!(parked.take(again, 0).is_none(), "it went without anything");
    }
}
