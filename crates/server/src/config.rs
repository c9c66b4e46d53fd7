//! What a server is told before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::accounts::Storage;
use crate::app::AppLimits;
use crate::log::SqliteLogOptions;

/// Whom a server is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Anybody who can reach it: apps are made by its operator only.
    #[default]
    Production,
    /// Its developer: whoever can reach it may make temporary apps, and `/health` tells details to this
    /// machine.
    Development,
}

/// How a server runs. Every field has a sane default; `Config::default()` listens on a free port of this
/// machine and keeps everything in memory.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where apps live.
    pub storage: Storage,
    /// Whom it is for.
    pub mode: Mode,
    /// Bounds of each app.
    pub app: AppLimits,
    /// How each app's log treats its file. The retention of outcomes is that of [`Self::app`].
    pub log: SqliteLogOptions,
    /// Which apps stay in memory.
    pub open_apps: OpenAppLimits,
    /// Bounds of requests and connections.
    pub http: HttpLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            storage: Storage::Memory,
            mode: Mode::Production,
            app: AppLimits::default(),
            log: SqliteLogOptions::default(),
            open_apps: OpenAppLimits::default(),
            http: HttpLimits::default(),
        }
    }
}

/// Which apps stay in memory. Apps with open sessions always do; the bounds hold for the others, least
/// recently used first. Apps of [`Storage::Memory`] never leave it.
#[derive(Clone, Debug)]
pub struct OpenAppLimits {
    /// How many may be open.
    pub count_max: usize,
    /// How much memory they may take together, in bytes, by an estimate from their facts.
    pub memory_bytes_max: u64,
    /// How long an app that nobody uses stays.
    pub idle_max: Duration,
}

impl Default for OpenAppLimits {
    fn default() -> Self {
        Self { count_max: 1_000, memory_bytes_max: 4 << 30, idle_max: Duration::from_secs(60) }
    }
}

/// Bounds of requests and connections.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// How long a connection may take to send the head of a request before it is closed.
    pub head_max: Duration,
    /// The largest message on a socket, in bytes; a larger one closes it with code 1009.
    pub message_bytes_max: usize,
    /// How long sockets may take to say goodbye when the server ends.
    pub drain_max: Duration,
    /// How long a flush may take before `/health` reports trouble.
    pub flush_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 64 << 20,
            head_max: Duration::from_secs(30),
            message_bytes_max: 16 << 20,
            drain_max: Duration::from_secs(3),
            flush_max: Duration::from_secs(10),
        }
    }
}
