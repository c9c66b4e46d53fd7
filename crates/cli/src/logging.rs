//! What the program tells about its work, on standard error.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Begins to log: warnings, and what the server has to say, or more of it.
pub(crate) fn begin(verbose: bool) {
    let own = if verbose { "debug" } else { "info" };
    let default = format!("warn,tricedb={own},tricedb_server={own}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Only fails if there is a subscriber already, which then does the work.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
}
