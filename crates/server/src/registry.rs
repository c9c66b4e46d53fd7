//! The open apps: opened when first asked for, parked when nobody uses them, never opened twice at once.

mod slot;
mod sweep;
mod watched_log;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tricedb_core::id::AppId;

use self::slot::{OpenApp, Slot};
use crate::accounts::{AppRecord, AppStore, Storage, StoreError};
use crate::app::{
    AppHandle, AppIdentity, AppLimits, AppSettings, LoadedApp, SettingsChange, spawn_app,
};
use crate::config::{Config, OpenAppLimits};
use crate::log::SqliteLogOptions;
use crate::session::{Apps, OpenAppError};

pub use slot::OpenAppReport;

/// The apps of a server: those in its store, and the tasks of those in use.
///
/// An app has a slot from the moment somebody asks for it. The slot's lock is held while the app is opened,
/// parked or deleted, so that everybody else waits for the outcome and one app never has two tasks.
#[derive(Debug)]
pub struct Registry {
    store: AppStore,
    app: AppLimits,
    log: SqliteLogOptions,
    limits: OpenAppLimits,
    /// Whether apps survive leaving memory.
    may_park: bool,
    slots: Mutex<HashMap<AppId, Arc<Slot>>>,
    is_closing: AtomicBool,
    /// Wakes the sweeper before its time: there may be too many open apps.
    crowded: Notify,
}

impl Registry {
    /// The apps of a store, none of them open.
    pub fn new(store: AppStore, config: &Config) -> Self {
        let outcome_retention = config.app.outcome_retention;
        Self {
            store,
            app: config.app.clone(),
            log: SqliteLogOptions { outcome_retention, ..config.log.clone() },
            limits: config.open_apps.clone(),
            may_park: matches!(config.storage, Storage::Directory(_)),
            slots: Mutex::default(),
            is_closing: AtomicBool::new(false),
            crowded: Notify::new(),
        }
    }

    /// The store behind it. Delete apps with [`Self::delete`], not there.
    pub const fn store(&self) -> &AppStore {
        &self.store
    }

    async fn open_once(&self, id: AppId) -> Result<AppHandle, OpenAppError> {
        let slot = self.slot(id)?;
        let mut place = slot.lock().await;
        if let Some(open) = &mut *place {
            if !open.handle.is_closed() {
                open.asked = Instant::now();
                return Ok(open.handle.clone());
            }
            // Its task ended by itself, after its log failed: let it close the file first.
            open.gone().await;
            *place = None;
        }
        // A server that ends closes the slots it finds; it must find all of them.
        if self.is_closing.load(Ordering::SeqCst) {
            return Err(shutting_down());
        }
        let open = match self.load(id).await {
            Ok(open) => open,
            Err(error) => {
                drop(place);
                // Asking for apps that do not exist must not fill the memory.
                self.forget(id, slot);
                return Err(error);
            }
        };
        let handle = open.handle.clone();
        slot.watch(open.health.clone());
        *place = Some(open);
        drop(place);
        if self.slots().len() > self.limits.count_max {
            self.crowded.notify_one();
        }
        Ok(handle)
    }

    /// What is known about an app, whether it is open or not.
    ///
    /// # Errors
    /// [`OpenAppError`].
    pub async fn record(&self, id: AppId) -> Result<Arc<AppRecord>, OpenAppError> {
        let slot = self.slots().get(&id).cloned();
        if let Some(slot) = slot
            && let Some(open) = &*slot.lock().await
        {
            return Ok(open.record.clone());
        }
        let record = self.store.app(id).await.map_err(unavailable)?;
        record.map(Arc::new).ok_or(OpenAppError::NotFound(id))
    }

    /// Changes an app's settings, for its next messages if it is open. Returns them all.
    ///
    /// # Errors
    /// [`OpenAppError`].
    pub async fn change_settings(
        &self,
        id: AppId,
        change: &SettingsChange,
    ) -> Result<AppSettings, OpenAppError> {
        let slot = self.slot(id)?;
        let mut place = slot.lock().await;
        let changed = self.store.change_settings(id, change).await.map_err(unavailable);
        if let (Ok(Some(settings)), Some(open)) = (&changed, &mut *place) {
            let record = AppRecord { settings: settings.clone(), ..AppRecord::clone(&open.record) };
            open.record = Arc::new(record);
            // One that ends meanwhile reads them when it is opened again.
            let _ = open.handle.set_settings(settings.clone()).await;
        }
        drop(place);
        self.forget(id, slot);
        changed?.ok_or(OpenAppError::NotFound(id))
    }

    /// Ends an app's sessions and removes it with all its data. Returns whether there was one.
    ///
    /// # Errors
    /// [`OpenAppError::Unavailable`].
    pub async fn delete(&self, id: AppId) -> Result<bool, OpenAppError> {
        let slot = self.slot(id)?;
        let mut place = slot.lock().await;
        if let Some(open) = place.take() {
            open.end().await;
        }
        let existed = self.store.delete_app(id).await.map_err(unavailable)?;
        drop(place);
        self.forget(id, slot);
        Ok(existed)
    }

    /// How many flushes to disk an open app has made since it was opened.
    pub async fn flushes(&self, id: AppId) -> Option<u64> {
        let slot = self.slots().get(&id).cloned()?;
        let place = slot.lock().await;
        place.as_ref().map(|open| open.health.flushes())
    }

    /// Every open app, as it is now; those that are just being opened or parked are left out.
    pub fn report(&self) -> Vec<OpenAppReport> {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        slots.iter().filter_map(|slot| Some(slot.try_lock().ok()?.as_ref()?.report())).collect()
    }

    /// Whether the log of an open app fails, or has been at one flush for longer than `flush_max`.
    pub fn is_in_trouble(&self, flush_max: Duration) -> bool {
        let slots: Vec<_> = self.slots().values().cloned().collect();
        slots.iter().any(|slot| slot.is_in_trouble(flush_max))
    }

    /// Ends every app: answers what was received, closes sessions, takes snapshots, closes the files. No
    /// app can be opened any more.
    pub async fn shutdown(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        let slots: Vec<_> = self.slots().drain().map(|(_, slot)| slot).collect();
        join_all(slots.iter().map(|slot| async {
            if let Some(open) = slot.lock().await.take() {
                open.end().await;
            }
        }))
        .await;
    }

    /// Frees the store; call it after [`Self::shutdown`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close(self) -> Result<(), StoreError> {
        self.store.close().await
    }

    async fn load(&self, id: AppId) -> Result<OpenApp, OpenAppError> {
        let record = self.store.app(id).await.map_err(unavailable)?;
        let record = record.ok_or(OpenAppError::NotFound(id))?;
        let log = self.store.open_log(id, &self.log).await.map_err(unavailable)?;
        let identity = AppIdentity { id, title: record.title.clone() };
        let (limits, settings) = (self.app.clone(), record.settings.clone());
        let loading = OpenApp::begin(record, log, |state, log| {
            spawn_app(LoadedApp { identity, state, settings }, log, limits)
        });
        loading.await.map_err(unavailable)
    }

    fn slot(&self, id: AppId) -> Result<Arc<Slot>, OpenAppError> {
        let mut slots = self.slots();
        if self.is_closing.load(Ordering::SeqCst) {
            return Err(shutting_down());
        }
        Ok(slots.entry(id).or_default().clone())
    }

    /// Removes an empty slot, unless somebody else is about to fill it.
    fn forget(&self, id: AppId, slot: Arc<Slot>) {
        let mut slots = self.slots();
        // Ours and the map's: whoever else wants it would have to get it from the map first.
        if Arc::strong_count(&slot) == 2 && slot.try_lock().is_ok_and(|place| place.is_none()) {
            slots.remove(&id);
        }
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<AppId, Arc<Slot>>> {
        // The map is whole whenever the lock is free.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Apps for Registry {
    /// Calls at the same time open an app once.
    async fn open(&self, app: AppId) -> Result<AppHandle, OpenAppError> {
        self.open_once(app).await
    }

    async fn check_admin_token(&self, app: AppId, token: &str) -> bool {
        self.record(app).await.is_ok_and(|record| record.is_admin_token(token))
    }
}

fn shutting_down() -> OpenAppError {
    OpenAppError::Unavailable("the server is shutting down".into())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> OpenAppError {
    OpenAppError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::accounts::NewApp;

    #[tokio::test]
    async fn apps_that_do_not_exist_leave_nothing_behind() {
        let store = AppStore::open(&Storage::Memory).await.unwrap();
        let registry = Registry::new(store, &Config::default());
        let asked = (0..8).map(|n| AppId::new(Uuid::from_u128(n % 2)));
        for answer in join_all(asked.map(|id| registry.open(id))).await {
            assert!(matches!(answer, Err(OpenAppError::NotFound(_))));
        }
        assert!(!registry.delete(AppId::new(Uuid::nil())).await.unwrap());
        assert_eq!(registry.slots().len(), 0);
        registry.shutdown().await;
        registry.close().await.unwrap();
    }

    #[tokio::test]
    async fn nothing_opens_once_the_end_has_begun() {
        let store = AppStore::open(&Storage::Memory).await.unwrap();
        let id = store.create_app(NewApp::default()).await.unwrap().id;
        let registry = Registry::new(store, &Config::default());
        let handle = registry.open(id).await.unwrap();
        registry.shutdown().await;
        assert!(handle.is_closed());
        assert!(matches!(registry.open(id).await, Err(OpenAppError::Unavailable(_))));
        registry.close().await.unwrap();
    }
}
