//! `cargo xtask conformance`: vectors that fix the semantics, run against the library.
//!
//! A folder of vectors holds `instaql/`, `instaml/`, `permissions/` and `datasets/`, or some of them.
//! Each kind of vectors is a module that reads its files and hands every case to a [`Report`].

mod compare;
mod data_set;
mod instaml;
mod instaql;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::console::Console;
use crate::{Verdict, workspace};

/// Arguments of `cargo xtask conformance`.
#[derive(Args)]
pub(crate) struct ConformanceArguments {
    /// A folder of vectors, instead of the project's own and those beside the repository
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// Why vectors could not be run at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConformanceError {
    /// A file or folder that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not JSON.
    #[error("{path} is not JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A file that does not have the shape of its kind.
    #[error("{path}: {problem}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// A folder without anything to run.
    #[error("no vectors in {0}")]
    Nothing(PathBuf),
}

/// What became of the cases.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    failed: Vec<Failure>,
    skipped: Vec<(&'static str, usize)>,
}

struct Failure {
    case: String,
    difference: String,
}

/// How a case ended.
pub(crate) enum Outcome {
    /// As it must.
    Passed,
    /// Otherwise; the text shows what was expected and what came.
    Failed(String),
    /// Not run, and why not.
    Skipped(&'static str),
}

impl Report {
    /// Takes down how a case ended.
    pub(crate) fn add(&mut self, group: &str, case: &str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(difference) => {
                self.failed.push(Failure { case: format!("{group}: {case}"), difference });
            }
            Outcome::Skipped(why) => match self.skipped.iter_mut().find(|(known, _)| *known == why)
            {
                Some((_, count)) => *count += 1,
                None => self.skipped.push((why, 1)),
            },
        }
    }

    /// Whether nothing failed.
    pub(crate) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether there was nothing to run.
    pub(crate) fn is_empty(&self) -> bool {
        self.passed == 0 && self.failed.is_empty() && self.skipped.is_empty()
    }

    /// The closing line.
    pub(crate) fn summary(&self) -> String {
        let (passed, failed) = (self.passed, self.failed.len());
        format!("{passed} passed, {failed} failed, {} skipped", self.skipped_count())
    }

    fn print(&self, console: Console) {
        for Failure { case, difference } in &self.failed {
            console.line(&format!("FAILED {case}"));
            for line in difference.lines() {
                console.line(&format!("    {line}"));
            }
        }
        for (why, count) in &self.skipped {
            console.line(&format!("skipped {count}: {why}"));
        }
        console.line(&self.summary());
    }

    fn to_json(&self) -> Value {
        let failures: Vec<Value> = self
            .failed
            .iter()
            .map(|failure| json!({"case": failure.case, "difference": failure.difference}))
            .collect();
        let reasons: Vec<Value> =
            self.skipped.iter().map(|(why, count)| json!({"why": why, "cases": count})).collect();
        json!({
            "passed": self.passed, "failed": self.failed.len(), "skipped": self.skipped_count(),
            "failures": failures, "skipped_because": reasons,
        })
    }

    fn skipped_count(&self) -> usize {
        self.skipped.iter().map(|(_, count)| count).sum()
    }
}

/// Runs all vectors that there are and prints what failed.
pub(crate) fn run(arguments: &ConformanceArguments) -> Result<Verdict, Box<dyn Error>> {
    let console = Console::new(arguments.json);
    let report = run_in(console, arguments.dir.as_deref())?;
    console.result(&report.to_json());
    Ok(if report.is_good() { Verdict::Passed } else { Verdict::Failed })
}

/// Runs the vectors of a folder, or all that there are, and prints what failed.
pub(crate) fn run_in(console: Console, dir: Option<&Path>) -> Result<Report, ConformanceError> {
    let report = report(dir)?;
    report.print(console);
    Ok(report)
}

/// Runs the vectors of a folder, or of all folders that are usual.
fn report(dir: Option<&Path>) -> Result<Report, ConformanceError> {
    let folders = match dir {
        Some(dir) => vec![dir.to_owned()],
        None => {
            let own = Some(workspace::root().join("conformance")).filter(|own| own.is_dir());
            own.into_iter().chain(workspace::shared("conformance")).collect()
        }
    };
    let mut report = Report::default();
    for folder in folders {
        let mut any = false;
        let instaql = folder.join("instaql");
        if instaql.is_dir() {
            any = true;
            instaql::run(&instaql, &folder.join("datasets"), &instaql::Library, &mut report)?;
        }
        let instaml = folder.join("instaml");
        if instaml.is_dir() {
            any = true;
            instaml::run(&instaml, &mut report)?;
        }
        if !any && dir.is_some() {
            return Err(ConformanceError::Nothing(folder));
        }
    }
    Ok(report)
}

/// The JSON files of a folder, by name.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>, ConformanceError> {
    let unreadable = |source| ConformanceError::Read { path: folder.to_owned(), source };
    let mut files = fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

fn read_json(path: &Path) -> Result<Value, ConformanceError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConformanceError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| ConformanceError::Json { path: path.to_owned(), source })
}
