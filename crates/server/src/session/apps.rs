//! What a session needs from whoever keeps the apps.

use async_trait::async_trait;
use tricedb_core::id::AppId;

use crate::app::AppHandle;

/// Why an app cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenAppError {
    /// There is no such app.
    #[error("there is no app {0}")]
    NotFound(AppId),
    /// It exists and cannot be read at the moment.
    #[error("the app cannot be opened: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The apps of a server.
#[async_trait]
pub trait Apps: Send + Sync {
    /// The app, read from its log if it is not in memory.
    ///
    /// # Errors
    /// [`OpenAppError`].
    async fn open(&self, app: AppId) -> Result<AppHandle, OpenAppError>;

    /// Whether this is the app's admin token.
    async fn check_admin_token(&self, app: AppId, token: &str) -> bool;
}
