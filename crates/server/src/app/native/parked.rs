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
    by_client: HashMap<Uuid, ParkedSession, FxBuildHasher>,
    /// In the order of ending; a client may stand here more than once.
    order: VecDeque<(Uuid, i64)>,
}

impl Parked {
    pub(super) fn park(&mut self, client: Uuid, session: ParkedSession) {
        let now = session.at;
        if session.subs.is_empty() {
            self.by_client.remove(&client);
        } else {
            self.order.push_back((client, now));
            self.by_client.insert(client, session);
        }
        self.forget(now);
    }

    /// Takes a client's last session, if it is not too long ago.
    pub(super) fn take(&mut self, client: Uuid, now: i64) -> Option<ParkedSession> {
        self.forget(now);
        self.by_client.remove(&client)
    }

    fn forget(&mut self, now: i64) {
        while let Some(&(client, at)) = self.order.front() {
            if at >= now.saturating_sub(KEPT_MS) && self.order.len() <= COUNT_MAX {
                return;
            }
            self.order.pop_front();
            if self.by_client.get(&client).is_some_and(|parked| parked.at == at) {
                self.by_client.remove(&client);
            }
        }
    }
}
