//! Running the two collections of cases, and reading their answers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::console::Console;
use crate::process::{OwnedChild, ProcessError};

/// Why a collection did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CasesError {
    /// Node could not be started, or did not end in time.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Node ended with a failure that no case accounts for.
    #[error("the runner failed ({0}) and no case says why")]
    Unexplained(std::process::ExitStatus),
}

/// What a run of cases needs to know.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where its lines go.
    pub(crate) console: Console,
    /// The server's address.
    pub(crate) url: String,
    /// The shell command that restarts the server.
    pub(crate) restart_command: String,
    /// Which cases run.
    pub(crate) selection: Selection,
}

/// Which cases run, and which of them must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// The project's own cases and the required ones of the shared collection; all must pass.
    Required,
    /// Every case there is; the same ones must pass.
    All,
    /// The cases whose name matches the pattern; all of them must pass.
    Matching(String),
}

/// One case that ran, or that had to and did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// `group/name`, unique over both collections.
    pub(crate) name: String,
    /// What came of it.
    pub(crate) status: Status,
    /// Why it failed or was skipped.
    pub(crate) reason: Option<String>,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It held.
    Passed,
    /// It did not hold.
    Failed,
    /// It did not run.
    Skipped,
}

impl Selection {
    /// The selection that `--only` and `--all` ask for.
    pub(crate) fn of(only: Option<&str>, all: bool) -> Self {
        match only {
            Some(pattern) => Self::Matching(pattern.to_owned()),
            None if all => Self::All,
            None => Self::Required,
        }
    }

    /// Whether this result makes the run a failure.
    pub(crate) fn counts_against(&self, case: &Case) -> bool {
        match case.status {
            Status::Passed => false,
            Status::Skipped => must_pass(&case.name),
            Status::Failed => matches!(self, Self::Matching(_)) || must_pass(&case.name),
        }
    }
}

impl Case {
    /// The case in a JSON result.
    pub(crate) fn to_json(&self) -> Value {
        let status = match self.status {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        };
        json!({
            "name": self.name,
            "status": status,
            "reason": self.reason,
            "required": must_pass(&self.name),
        })
    }
}

/// Runs the project's own cases.
///
/// # Errors
/// [`CasesError`].
pub(crate) fn run_own(session: &Session, folder: &Path) -> Result<Vec<Case>, CasesError> {
    let mut node = node(session, folder);
    if let Selection::Matching(pattern) = &session.selection {
        node.args(["--only", pattern]);
    }
    collect(session, &mut node)
}

/// Runs the shared cases that the session selects. Required ones that did not run are failures.
///
/// # Errors
/// [`CasesError`].
pub(crate) fn run_shared(session: &Session, folder: &Path) -> Result<Vec<Case>, CasesError> {
    let mut node = node(session, folder);
    match &session.selection {
        Selection::Matching(pattern) => _ = node.args(["--only", pattern]),
        Selection::Required => _ = node.args(["--only", &exactly(required())]),
        Selection::All => {}
    }
    let mut cases = collect(session, &mut node)?;
    if !matches!(session.selection, Selection::Matching(_)) {
        let absent: Vec<_> = required()
            .filter(|name| cases.iter().all(|case| case.name != *name))
            .map(|name| Case {
                name: name.to_owned(),
                status: Status::Failed,
                reason: Some("the collection has no such case any more".to_owned()),
            })
            .collect();
        cases.extend(absent);
    }
    Ok(cases)
}

/// The shared cases that must pass.
fn required() -> impl Iterator<Item = &'static str> {
    include_str!("required.txt").lines().map(str::trim).filter(|line| !line.is_empty())
}

/// The project's own cases all must pass.
fn must_pass(name: &str) -> bool {
    name.starts_with(OWN_PREFIX) || required().any(|required| required == name)
}

const OWN_PREFIX: &str = "own/";
/// Each case has a limit of its own; this one ends a runner that hangs.
const COLLECTION_LIMIT: Duration = Duration::from_secs(20 * 60);
/// What a runner may take to exit after its last line.
const EXIT_GRACE: Duration = Duration::from_secs(10);

/// A pattern of both runners that matches these names and no others.
fn exactly<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("/^({})$/", names.collect::<Vec<_>>().join("|"))
}

fn node(session: &Session, folder: &Path) -> Command {
    let mut command = Command::new("node");
    command
        .arg("run.mjs")
        .current_dir(folder)
        .env("TEST_HTTP_URL", &session.url)
        .env("TEST_RESTART_CMD", &session.restart_command)
        .stdout(Stdio::piped());
    for setting in ["TEST_WS_URL", "TEST_APP_ID", "TEST_ADMIN_TOKEN", "NODE_OPTIONS"] {
        command.env_remove(setting);
    }
    command
}

/// Runs a collection, passing on its lines and reading the cases from them.
fn collect(session: &Session, command: &mut Command) -> Result<Vec<Case>, CasesError> {
    let deadline = Instant::now() + COLLECTION_LIMIT;
    let child = OwnedChild::spawn(command)?;
    let (send, lines) = mpsc::channel();
    if let Some(stdout) = child.take_stdout() {
        // Reading on a thread of its own keeps the limit for a runner that falls silent.
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map_while(|line| send.send(line).ok()).for_each(drop);
        });
    }
    let mut cases = Vec::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        session.console.line(&line);
        cases.extend(parse(&line));
    }
    let status = child.wait(deadline.saturating_duration_since(Instant::now()) + EXIT_GRACE)?;
    // A pattern may match nothing here and something in the other collection.
    let nothing_matched = cases.is_empty() && matches!(session.selection, Selection::Matching(_));
    let explained = nothing_matched || cases.iter().any(|case| case.status == Status::Failed);
    if !status.success() && !explained {
        return Err(CasesError::Unexplained(status));
    }
    Ok(cases)
}

/// Reads `ok NAME`, `FAIL NAME: reason` or `skip NAME: reason`; other lines are not cases.
fn parse(line: &str) -> Option<Case> {
    let (word, rest) = line.split_once(' ')?;
    let status = match word {
        "ok" => Status::Passed,
        "FAIL" => Status::Failed,
        "skip" => Status::Skipped,
        _ => return None,
    };
    let (name, reason) = match rest.split_once(": ") {
        Some((name, reason)) => (name, Some(reason.to_owned())),
        None => (rest, None),
    };
    Some(Case { name: name.to_owned(), status, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, status: Status) -> Case {
        Case { name: name.to_owned(), status, reason: None }
    }

    #[test]
    fn lines_of_a_runner_are_read() {
        assert_eq!(parse("ok live/unlink"), Some(case("live/unlink", Status::Passed)));
        let failed = parse("FAIL live/unlink: not within 6 s: a: b").unwrap();
        assert_eq!(failed.status, Status::Failed);
        assert_eq!(failed.reason.as_deref(), Some("not within 6 s: a: b"));
        assert_eq!(parse("3 passed, 0 failed, 0 skipped"), None);
    }

    #[test]
    fn a_required_case_may_not_be_skipped() {
        let skipped = case("offline/server-restart", Status::Skipped);
        assert!(Selection::Required.counts_against(&skipped));
        assert!(!Selection::All.counts_against(&case("perms/view-false", Status::Skipped)));
    }

    #[test]
    fn other_cases_count_only_when_asked_for() {
        let failed = case("perms/view-false", Status::Failed);
        assert!(!Selection::All.counts_against(&failed));
        assert!(Selection::Matching("perms".to_owned()).counts_against(&failed));
    }

    #[test]
    fn the_required_names_are_distinct_and_in_groups() {
        let mut names: Vec<_> = required().collect();
        let count = names.len();
        assert!(names.iter().all(|name| name.contains('/')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
