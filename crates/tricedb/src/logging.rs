//! Readable logs for programs that have none of their own.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Installs a subscriber that prints this crate's events to standard error. Does nothing if the program has
/// a subscriber already. `RUST_LOG` has the last word on what is printed.
pub(crate) fn install() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("tricedb=debug"));
    // An installed subscriber is as good: it gets the same events.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .compact()
        .try_init();
}
