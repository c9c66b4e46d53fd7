//! `tricedb schema`: shows, plans and changes the schema of an app.

mod change;
mod line;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use tricedb_core::id::AttrId;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::{self, Rename, Schema, SchemaStep, from_catalog};
use tricedb_core::tx::TxStep;
use uuid::Uuid;

use self::change::{Change, Place};
use self::line::line;
use super::target::{Failure, Target};

/// Shows, plans and changes the schema of an app
#[derive(Args, Debug)]
pub(crate) struct SchemaArguments {
    #[command(subcommand)]
    command: SchemaCommand,
}

#[derive(Subcommand, Debug)]
enum SchemaCommand {
    Pull(PullArguments),
    Plan(PushArguments),
    Push(PushArguments),
    Restore(RestoreArguments),
}

/// Prints the schema that an app has, in the form that push reads
#[derive(Args, Debug)]
struct PullArguments {
    #[command(flatten)]
    target: Target,
    /// Print the schema as one line
    #[arg(long)]
    json: bool,
}

/// Makes an app have the schema of a file (plan: says what that would do)
#[derive(Args, Debug)]
struct PushArguments {
    /// The schema, in InstantDB's schema JSON; read from standard input if it is -
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// Keep the values of an attribute or link under a new name, such as posts.title:posts.heading
    #[arg(long, value_name = "FROM:TO", value_parser = read_rename)]
    rename: Vec<Rename>,
    /// Delete attributes and links that the file leaves out; without this they stay
    #[arg(long)]
    overwrite: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Brings a deleted attribute back with its values, neither indexed nor required
#[derive(Args, Debug)]
struct RestoreArguments {
    /// The attribute's id, which the push that deleted it told
    attr: Uuid,
    #[command(flatten)]
    target: Target,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

fn read_rename(text: &str) -> Result<Rename, String> {
    text.parse().map_err(|error: schema::SchemaError| error.detail().to_owned())
}

pub(crate) async fn run(arguments: &SchemaArguments) -> Result<(), Failure> {
    match &arguments.command {
        SchemaCommand::Pull(arguments) => pull(arguments).await,
        SchemaCommand::Plan(arguments) => plan(arguments).await,
        SchemaCommand::Push(arguments) => push(arguments).await,
        SchemaCommand::Restore(arguments) => restore(arguments).await,
    }
}

async fn pull(arguments: &PullArguments) -> Result<(), Failure> {
    let place = Place::open(&arguments.target).await?;
    let index = place.attributes().await;
    place.close().await?;
    let schema = from_catalog(index?.catalog());
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{schema}")?,
        false => writeln!(out, "{schema:#}")?,
    }
    Ok(out.flush()?)
}

async fn plan(arguments: &PushArguments) -> Result<(), Failure> {
    let schema = read_schema(&arguments.file)?;
    let place = Place::open(&arguments.target).await?;
    let index = place.attributes().await;
    place.close().await?;
    let index = index?;
    let plan = Plan::make(&schema, &index, arguments)?;
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", plan.to_json(&index))?;
    } else {
        plan.print(&index, &mut out)?;
    }
    Ok(out.flush()?)
}

async fn push(arguments: &PushArguments) -> Result<(), Failure> {
    let schema = read_schema(&arguments.file)?;
    let place = Place::open(&arguments.target).await?;
    let pushed = push_to(&place, &schema, arguments).await;
    place.close().await?;
    let (plan, index, change) = pushed?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let mut result = plan.to_json(&index);
        result["tx_id"] = change.tx_id.clone();
        result["jobs"] = change.jobs.iter().map(change::Job::to_json).collect();
        writeln!(out, "{result}")?;
    } else {
        plan.print(&index, &mut out)?;
        if let Some(position) = change.tx_id.as_u64() {
            writeln!(out, "tx id  {position}")?;
        }
    }
    out.flush()?;
    match change.failures() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(Failure::Schema(failures.join("\n"))),
    }
}

async fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    let id = AttrId::new(arguments.attr);
    let place = Place::open(&arguments.target).await?;
    let change = place.apply(vec![SchemaStep::Attr(TxStep::RestoreAttr(id))]).await;
    let index = place.attributes().await;
    place.close().await?;
    let (change, index) = (change?, index?);
    let attr = index.catalog().get(id).ok_or_else(|| {
        Failure::Schema(format!("there is no deleted attribute with the id {id}"))
    })?;
    let name = format!("{}.{}", attr.etype(), attr.label());
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", json!({ "attr": name, "tx_id": change.tx_id }))?,
        false => writeln!(out, "~ {name}  is back")?,
    }
    Ok(out.flush()?)
}

async fn push_to(
    place: &Place,
    schema: &Schema,
    arguments: &PushArguments,
) -> Result<(Plan, TripleIndex, Change), Failure> {
    let index = place.attributes().await?;
    let plan = Plan::make(schema, &index, arguments)?;
    let change = match plan.steps.is_empty() {
        true => Change::nothing(),
        false => place.apply(plan.steps.clone()).await?,
    };
    Ok((plan, index, change))
}

fn read_schema(path: &Path) -> Result<Schema, Failure> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text)?;
        text
    } else {
        let failed = |source| Failure::File { path: path.to_owned(), source };
        fs::read_to_string(path).map_err(failed)?
    };
    let json: Json = serde_json::from_str(&text)?;
    schema::parse(&json).map_err(|error| Failure::Schema(error.message()))
}

/// What is to be done, and what is left alone for want of `--overwrite`.
struct Plan {
    steps: Vec<SchemaStep>,
    kept: Vec<SchemaStep>,
}

impl Plan {
    fn make(
        schema: &Schema,
        index: &TripleIndex,
        arguments: &PushArguments,
    ) -> Result<Self, Failure> {
        let mut ids = Uuid::new_v4;
        let steps = schema
            .overwrite(index.catalog(), &arguments.rename, &mut ids)
            .map_err(|error| Failure::Schema(error.message()))?;
        let (kept, steps) = steps.into_iter().partition(|step| {
            !arguments.overwrite && matches!(step, SchemaStep::Attr(TxStep::DeleteAttr(_)))
        });
        Ok(Self { steps, kept })
    }

    fn to_json(&self, index: &TripleIndex) -> Json {
        let steps: Vec<_> = self.steps.iter().map(SchemaStep::to_json).collect();
        let kept: Vec<_> = self.kept.iter().map(|step| line::name(step, index)).collect();
        json!({ "steps": steps, "kept": kept })
    }

    fn print(&self, index: &TripleIndex, out: &mut impl io::Write) -> io::Result<()> {
        if self.steps.is_empty() {
            writeln!(out, "nothing to change")?;
        }
        for step in &self.steps {
            writeln!(out, "{}", line(step, &self.steps, index))?;
        }
        for step in &self.kept {
            let name = line::name(step, index);
            writeln!(out, "  {name}  is not in the file and stays; --overwrite deletes it")?;
        }
        Ok(())
    }
}
