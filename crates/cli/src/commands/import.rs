//! `tricedb import`: makes an app from the backup of an Instant Cloud app.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tricedb_core::id::AppId;
use tricedb_server::{AppStore, Storage, StoreError};
use uuid::Uuid;

use crate::import::{
    Backup, Choices, Files, ImportError, Limits, NamespaceCount, Progress, Rules, read_backup,
};

/// Makes an app from an InstantDB backup
#[derive(Args, Debug)]
pub(crate) struct ImportArguments {
    /// The backup: a zip with `config.json` and `entities/`
    backup: PathBuf,
    /// Where the server keeps its apps
    #[arg(long, value_name = "DIR", default_value = "tricedb-data")]
    data: PathBuf,
    /// The id of the new app; a fresh one if left out
    #[arg(long, value_name = "ID")]
    app: Option<Uuid>,
    /// Permission rules for the app (refused until rules can be enforced)
    #[arg(long, value_name = "FILE", conflicts_with = "no_rules")]
    rules: Option<PathBuf>,
    /// Import without permission rules: everyone who knows the app's id can read and write everything
    #[arg(long)]
    no_rules: bool,
    /// Leave stored files in the backup
    #[arg(long)]
    skip_files: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// Why there was no import.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportFailure {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Backup { path: PathBuf, problem: Box<ImportError> },
    #[error(
        "--rules: permission rules cannot be enforced yet, and data that was closed is not served open; \
         nothing was imported"
    )]
    RulesFile,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

#[derive(Serialize)]
struct Report<'a> {
    app_id: AppId,
    admin_token: &'a str,
    entities: BTreeMap<&'a str, usize>,
    triples: usize,
}

/// Reads the whole backup, makes the app from it, and prints who it is. A backup that is refused leaves
/// nothing behind, not even the data directory.
pub(crate) async fn run(arguments: &ImportArguments) -> Result<(), ImportFailure> {
    // Blocks this thread, which has nothing else to do.
    let Backup { title, index, namespaces, notes } = read(arguments)?;
    for note in &notes {
        eprintln!("note: {note}");
    }
    let store = AppStore::open(&Storage::Directory(arguments.data.clone())).await?;
    let id = arguments.app.map(AppId::new);
    let triples = index.triple_count();
    let app = store.import_app(id, &title, index).await?;
    store.close().await?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let report = Report {
            app_id: app.id,
            admin_token: app.admin_token.reveal(),
            entities: namespaces.iter().map(|(e, c)| (e.as_str(), c.entities)).collect(),
            triples,
        };
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "app id       {}", app.id)?;
        writeln!(out, "admin token  {}", app.admin_token.reveal())?;
        print_table(&mut out, &namespaces)?;
    }
    Ok(out.flush()?)
}

fn read(arguments: &ImportArguments) -> Result<Backup, ImportFailure> {
    if arguments.rules.is_some() {
        return Err(ImportFailure::RulesFile);
    }
    let path = &arguments.backup;
    let file =
        File::open(path).map_err(|source| ImportFailure::Open { path: path.clone(), source })?;
    let choices = Choices {
        rules: if arguments.no_rules { Rules::None } else { Rules::FromBackup },
        files: if arguments.skip_files { Files::Skip } else { Files::Keep },
    };
    let bar = progress_bar(path, arguments.json);
    let mut on_progress = |Progress { done, total }: Progress| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let backup = read_backup(file, Limits::default(), choices, &mut Uuid::new_v4, &mut on_progress);
    bar.finish_and_clear();
    backup
        .map_err(|problem| ImportFailure::Backup { path: path.clone(), problem: Box::new(problem) })
}

/// On standard error, and only where somebody looks at it.
fn progress_bar(path: &Path, json: bool) -> ProgressBar {
    let target = if json || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    bar
}

fn print_table(
    out: &mut impl Write,
    namespaces: &BTreeMap<String, NamespaceCount>,
) -> io::Result<()> {
    let width = namespaces.keys().map(String::len).max().unwrap_or(0).max("namespace".len());
    writeln!(out)?;
    writeln!(out, "{:width$}  {:>9}  {:>9}", "namespace", "entities", "triples")?;
    let mut all = NamespaceCount::default();
    for (etype, count) in namespaces {
        writeln!(out, "{etype:width$}  {:>9}  {:>9}", count.entities, count.triples)?;
        all.entities += count.entities;
        all.triples += count.triples;
    }
    writeln!(out, "{:width$}  {:>9}  {:>9}", "all", all.entities, all.triples)
}
