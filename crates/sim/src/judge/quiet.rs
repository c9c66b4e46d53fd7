//! What holds when nothing is under way.

use tricedb_sync::{PendingState, PendingTransaction, QueryResultSnapshot};

use super::Judge;
use crate::violation::{Violation, hold};

impl Judge {
    /// A client at quiet: all that it shows is what the server has, and nothing of it is open.
    pub(crate) fn quiet_client(
        &mut self,
        client: usize,
        shown: &[(usize, Option<&QueryResultSnapshot>)],
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        let open = pending.iter().find(|p| p.state != PendingState::Rejected);
        if let Some(open) = open {
            hold!(false, Liveness, "client {client} still holds {open:?}");
        }
        self.all_settled(client)?;
        for (query, result) in shown {
            let should = self.history.shown(*query, self.history.newest());
            let Ok(should) = should.as_ref() else { continue };
            let Some(result) = result else {
                hold!(false, Liveness, "client {client} shows nothing for query {query}");
                continue;
            };
            hold!(
                *result.data() == should.data,
                Convergence,
                "client {client} shows in query {query}\n    {}\n  the server has\n    {}",
                result.data(),
                should.data
            );
            hold!(
                result.page_info() == should.page_info.as_ref(),
                Convergence,
                "client {client} shows in query {query} the page {:?}, the server has {:?}",
                result.page_info(),
                should.page_info
            );
            hold!(
                result.is_complete(),
                Convergence,
                "client {client} does not know that its result of query {query} is complete"
            );
        }
        Ok(())
    }

    /// The server at quiet.
    pub(crate) fn quiet_server(
        &mut self,
        index: &tricedb_core::index::TripleIndex,
        position: tricedb_core::id::TxId,
    ) -> Result<(), Violation> {
        self.coverage.quiets += 1;
        hold!(
            position == self.history.position(),
            Durable,
            "the server is at {position}, its log at {}",
            self.history.position()
        );
        let difference = self.model.difference(index);
        hold!(
            difference.is_none(),
            Conflicts,
            "the server's memory: {}",
            difference.unwrap_or_default()
        );
        self.compare_model("at quiet")
    }
}
