//! Waiting until nothing is under way, and comparing everything then.

use std::sync::Arc;

use super::World;
use crate::violation::{Violation, hold};

/// How long the world may take to become quiet once everything is healed: the longest wait of a client
/// between two attempts, answers that never come, and retries after failures all fit.
const QUIET_MAX_MS: u64 = 300_000;

/// How often that is looked at.
const LOOK_MS: u64 = 250;

impl World {
    pub(super) fn quiet(&mut self) -> Result<(), Violation> {
        self.heal()?;
        let end = self.now + QUIET_MAX_MS;
        while self.now < end && !self.is_quiet() {
            self.run_until(self.now + LOOK_MS)?;
        }
        let Some(app) = self.server.app() else {
            hold!(false, Sanity, "the server did not come back");
            return Ok(());
        };
        self.judge.quiet_server(app.index(), app.position())?;
        for client in 0..self.clients.len() {
            let at = self.client_now(client);
            let shown = self.shown(client);
            let shown: Vec<_> =
                shown.iter().map(|(query, result)| (*query, result.as_deref())).collect();
            let Some(running) = &self.clients[client].running else {
                hold!(false, Sanity, "client {client} did not come back");
                continue;
            };
            hold!(
                running.engine.status().is_online(),
                Liveness,
                "client {client} is {:?} though nothing hinders it: {:?}",
                running.engine.status(),
                running.engine.trouble()
            );
            hold!(
                running.once.is_empty(),
                Liveness,
                "client {client} was never answered: {:?}",
                running.once
            );
            self.judge.quiet_client(client, &shown, &running.engine.pending(at))?;
            for room in self.judge.rooms.rooms() {
                let id: Arc<str> = format!("room{room}").into();
                self.judge.quiet_room(client, room, &running.engine.peers(&id))?;
            }
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.events.is_empty()
            && self.server.is_settled()
            && self.server.rooms_deadline().is_none()
            && self.net.is_idle()
            && (0..self.clients.len()).all(|client| !self.is_client_busy(client))
    }
}
