//! Where a command's lines go: progress to people, one object to programs.

use std::io::{self, Write};
use std::process::Stdio;

use serde_json::Value;

/// Decides by `--json` which stream carries progress.
///
/// Without `--json` everything is on standard output. With it standard output carries exactly one
/// line, the result, and all else goes to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Console {
    /// The console that a `--json` argument asks for.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Prints one line of progress. A closed stream is not an error: nobody is reading.
    pub(crate) fn line(self, line: &str) {
        match self {
            Self::Text => _ = writeln!(io::stdout(), "{line}"),
            Self::Json => _ = writeln!(io::stderr(), "{line}"),
        }
    }

    /// Prints the result as one line; nothing for people, who have read it already.
    pub(crate) fn result(self, result: &Value) {
        if self == Self::Json {
            _ = writeln!(io::stdout(), "{result}");
        }
    }

    /// What to give a child process as its standard output.
    pub(crate) fn child_stdout(self) -> Stdio {
        match self {
            Self::Text => Stdio::inherit(),
            Self::Json => Stdio::from(io::stderr()),
        }
    }
}
