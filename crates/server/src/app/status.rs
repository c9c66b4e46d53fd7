//! Whether an app may be used, and telling its sessions when that changes.

use tricedb_protocol::AppState as Status;

use super::frames;
use super::held::Remedy;
use super::sessions::SessionKey;
use super::state::AppState;

impl AppState {
    /// Tells every session. Of a disabled app nobody is told anything more: clients come with a new
    /// session once it can be used again.
    pub(super) fn tell_status(&mut self) {
        let sessions: Vec<SessionKey> = self.sessions.keys().copied().collect();
        if self.settings.status == Status::Disabled {
            for session in &sessions {
                self.end_everything(*session);
            }
        }
        let frame = frames::app_status_changed(self.settings.status);
        for session in sessions {
            self.send(session, frame.clone(), Remedy::Keep);
        }
    }

    fn end_everything(&mut self, session: SessionKey) {
        let Some(state) = self.sessions.get_mut(&session) else { return };
        let subscriptions = std::mem::take(&mut state.subscriptions);
        for subscription in subscriptions.values() {
            self.live.unsubscribe(subscription.live, session);
        }
        self.end_native_subscriptions(session);
        self.rooms.forget(session);
    }
}
