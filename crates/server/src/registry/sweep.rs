//! Parking apps that nobody uses, and removing apps whose time is over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tricedb_core::id::AppId;

use super::Registry;
use super::slot::Slot;
use crate::clock;

/// How often temporary apps are looked through.
const EXPIRY_PERIOD: Duration = Duration::from_secs(3600);

/// How long an app stays at least for somebody who has just asked for it.
const GRACE: Duration = Duration::from_millis(500);

/// Whether the open apps keep within the bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Crowding {
    Within,
    Over,
}

/// An app that may be parked.
struct Idle {
    id: AppId,
    slot: Arc<Slot>,
    idle_for: Duration,
    memory_bytes: u64,
}

impl Registry {
    /// Parks and removes what is due, for ever. Stopping it between two sweeps is safe, and so is stopping
    /// it during one if no app is used afterwards.
    pub async fn keep_tidy(&self) {
        let period =
            (self.limits.idle_max / 4).clamp(Duration::from_millis(20), Duration::from_secs(15));
        let mut next_expiry = Instant::now();
        let mut wait = period;
        loop {
            if next_expiry <= Instant::now() {
                self.remove_expired().await;
                next_expiry = Instant::now() + EXPIRY_PERIOD;
            }
            let due = tokio::time::sleep(wait);
            tokio::select! {
                () = due => {}
                () = self.crowded.notified() => {}
            }
            if self.may_park {
                let crowding = self.park_idle().await;
                wait = if crowding == Crowding::Over { period.min(GRACE) } else { period };
            }
        }
    }

    async fn park_idle(&self) -> Crowding {
        let slots: Vec<_> = self.slots().iter().map(|(id, slot)| (*id, slot.clone())).collect();
        let (mut open, mut bytes) = (0, 0);
        let mut idle = Vec::new();
        for (id, slot) in slots {
            // Locked means that somebody opens, parks or deletes it.
            let Ok(place) = slot.try_lock() else { continue };
            let Some(app) = &*place else { continue };
            open += 1;
            bytes += app.memory_bytes();
            let idle_for = match app.handle.is_closed() {
                true => Some(Duration::MAX),
                false => app.handle.idle_for(),
            };
            if let Some(idle_for) = idle_for {
                let memory_bytes = app.memory_bytes();
                drop(place);
                idle.push(Idle { id, slot, idle_for, memory_bytes });
            }
        }
        idle.sort_by_key(|app| std::cmp::Reverse(app.idle_for));
        for app in idle {
            let is_over = open > self.limits.count_max || bytes > self.limits.memory_bytes_max;
            if !is_over && app.idle_for < self.limits.idle_max {
                break;
            }
            if self.park(app.id, app.slot).await {
                open -= 1;
                bytes -= app.memory_bytes;
            }
        }
        match open > self.limits.count_max || bytes > self.limits.memory_bytes_max {
            true => Crowding::Over,
            false => Crowding::Within,
        }
    }

    async fn park(&self, id: AppId, slot: Arc<Slot>) -> bool {
        let mut place = slot.lock().await;
        let Some(app) = &*place else { return true };
        if !app.park(self.limits.idle_max.min(GRACE)).await {
            return false;
        }
        tracing::debug!(target: "tricedb::server", app = %id, "parked");
        *place = None;
        drop(place);
        self.forget(id, slot);
        true
    }

    async fn remove_expired(&self) {
        let now = clock::now_ms();
        let apps = match self.store.list_apps().await {
            Ok(apps) => apps,
            Err(error) => {
                tracing::warn!(target: "tricedb::server", "temporary apps were not removed: {error}");
                return;
            }
        };
        for app in apps.iter().filter(|app| app.expires_at.is_some_and(|at| at <= now)) {
            match self.delete(app.id).await {
                Ok(_) => {
                    tracing::info!(target: "tricedb::server", app = %app.id, "removed: its time was over");
                }
                Err(error) => {
                    let id = app.id;
                    tracing::warn!(target: "tricedb::server", app = %id, "not removed: {error}");
                }
            }
        }
    }
}
