//! Settings that a program may keep in a file.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a client behaves. In files the names are in camel case (`syncEnabled`), durations in milliseconds;
/// what is absent has its default.
///
/// ```
/// let config: tricedb::Config = serde_json::from_str(
///     r#"{"syncEnabled": true, "verboseLogging": false, "websocketUrl": "ws://127.0.0.1:8888"}"#,
/// )?;
/// assert_eq!(config.websocket_url.as_deref(), Some("ws://127.0.0.1:8888"));
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Whether to synchronise. Otherwise everything works locally and writes queue; switching it on later
    /// sends them.
    pub sync_enabled: bool,
    /// Whether to print what happens, readably, unless the program installed a `tracing` subscriber.
    pub verbose_logging: bool,
    /// The WebSocket address. Without a path, that of the official servers is taken.
    pub websocket_url: Option<String>,
    /// The HTTP address.
    pub api_url: Option<String>,
    /// The SQLite file; none keeps everything in memory only.
    pub path: Option<PathBuf>,
    /// The first delay after a lost connection; later ones double.
    #[serde(rename = "reconnectMinMs", with = "milliseconds")]
    pub reconnect_min: Duration,
    /// The longest delay between tries to connect.
    #[serde(rename = "reconnectMaxMs", with = "milliseconds")]
    pub reconnect_max: Duration,
    /// Whether to use native sessions with servers that speak them; otherwise the plain protocol is spoken
    /// to all. Both are described in `docs/protocol.md`.
    pub native_sessions: bool,
    /// Most transactions that may wait for the server.
    pub pending_max: usize,
    /// Most queries without a subscription whose results are kept for offline use.
    pub kept_queries_max: usize,
    /// Most facts kept for such queries.
    pub kept_facts_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        let app = tricedb_core::id::AppId(uuid::Uuid::nil());
        let settings = tricedb_sync::Settings::new(app);
        Self {
            sync_enabled: settings.sync_enabled,
            verbose_logging: false,
            websocket_url: None,
            api_url: None,
            path: None,
            reconnect_min: settings.reconnect_min,
            reconnect_max: settings.reconnect_max,
            native_sessions: settings.native_sessions,
            pending_max: settings.pending_max,
            kept_queries_max: settings.kept_queries_max,
            kept_facts_max: settings.kept_facts_max,
        }
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_from_its_own_text_and_refuses_misspelt_names() {
        let mut config = Config { sync_enabled: false, ..Config::default() };
        config.reconnect_max = Duration::from_millis(12_345);
        config.path = Some("a.db".into());
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""reconnectMaxMs":12345"#), "{text}");
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        assert!(serde_json::from_str::<Config>(r#"{"syncEnable": true}"#).is_err());
    }
}
