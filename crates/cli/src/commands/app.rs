//! `tricedb app`: makes, lists, sets and deletes apps.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value as Json, json};
use tricedb_core::id::AppId;
use tricedb_server::app::{AppStatus, SettingsChange};
use tricedb_server::{AppStore, NewApp, Storage, StoreError};
use uuid::Uuid;

use super::target::{Failure, Place};

/// Makes, lists, sets and deletes apps
#[derive(Args, Debug)]
pub(crate) struct AppArguments {
    #[command(subcommand)]
    command: AppCommand,
}

#[derive(Subcommand, Debug)]
enum AppCommand {
    Create(CreateArguments),
    List(ListArguments),
    Set(SetArguments),
    Delete(DeleteArguments),
}

/// Makes an app and prints its id and its admin token, which is shown only this once
#[derive(Args, Debug)]
struct CreateArguments {
    /// A name for people
    title: String,
    /// The id of the new app; a fresh one if left out
    #[arg(long, value_name = "ID", conflicts_with = "url")]
    app: Option<Uuid>,
    /// A file with the app's schema, in InstantDB's schema JSON
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the apps of a data directory
#[derive(Args, Debug)]
struct ListArguments {
    #[command(flatten)]
    place: Place,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Turns on or off what an app has beyond InstantDB, and shows all such settings
#[derive(Args, Debug)]
struct SetArguments {
    /// The app
    #[arg(value_name = "ID")]
    app: Uuid,
    /// Whether objects such as {"$increment": 1}, in what official clients and the admin API send, are update
    /// operators rather than data
    #[arg(long, value_enum, value_name = "SWITCH")]
    operators: Option<Switch>,
    /// Whether official clients and the admin API may use `$nin`, `$exists`, `$contains`, `$size` and
    /// aggregates in queries; Rust clients always may
    #[arg(long, value_enum, value_name = "SWITCH")]
    extensions: Option<Switch>,
    /// Whether the app may be used; its sessions are told
    #[arg(long, value_enum, value_name = "STATUS")]
    status: Option<Status>,
    #[command(flatten)]
    place: Place,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    /// Reads and writes
    Active,
    /// Reads only
    ReadOnly,
    /// Nothing
    Disabled,
}

impl Status {
    const fn state(self) -> AppStatus {
        match self {
            Self::Active => AppStatus::Active,
            Self::ReadOnly => AppStatus::ReadOnly,
            Self::Disabled => AppStatus::Disabled,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Switch {
    const fn is_on(self) -> bool {
        matches!(self, Self::On)
    }
}

/// Deletes an app with all its data
#[derive(Args, Debug)]
struct DeleteArguments {
    /// The app
    #[arg(value_name = "ID")]
    app: Uuid,
    #[command(flatten)]
    place: Place,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: &AppArguments) -> Result<(), Failure> {
    match &arguments.command {
        AppCommand::Create(arguments) => create(arguments).await,
        AppCommand::List(arguments) => list(arguments).await,
        AppCommand::Set(arguments) => set(arguments).await,
        AppCommand::Delete(arguments) => delete(arguments).await,
    }
}

async fn create(arguments: &CreateArguments) -> Result<(), Failure> {
    let schema = arguments.schema.as_ref().map(read_schema).transpose()?;
    let (id, token) = match arguments.place.remote() {
        Some(remote) => {
            let body = json!({ "title": arguments.title, "schema": schema });
            let answer = remote.send(Method::POST, "/dash/apps/ephemeral", None, &body).await?;
            eprintln!("note: an app that is made over the network lives for 14 days");
            (answer["app"]["id"].clone(), answer["app"]["admin-token"].clone())
        }
        None => {
            let store = AppStore::open(&Storage::Directory(arguments.place.data.clone())).await?;
            let id = arguments.app.map(AppId::new);
            let new = NewApp { title: arguments.title.clone(), id, schema, expires_at: None };
            let created = store.create_app(new).await;
            store.close().await?;
            let created = created?;
            (json!(created.id), json!(created.admin_token.reveal()))
        }
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", json!({ "app_id": id, "admin_token": token }))?;
    } else {
        writeln!(out, "app id       {}", id.as_str().unwrap_or_default())?;
        writeln!(out, "admin token  {}", token.as_str().unwrap_or_default())?;
    }
    Ok(out.flush()?)
}

fn read_schema(path: &PathBuf) -> Result<Json, Failure> {
    let text = fs::read(path).map_err(|source| Failure::File { path: path.clone(), source })?;
    Ok(serde_json::from_slice(&text)?)
}

async fn list(arguments: &ListArguments) -> Result<(), Failure> {
    if arguments.place.url.is_some() {
        return Err(Failure::Unsupported(
            "a server does not list its apps to anybody: run this with --data while it is stopped",
        ));
    }
    let store = arguments.place.existing_store().await?;
    let apps = store.list_apps().await;
    store.close().await?;
    let apps = apps?;
    let mut out = io::stdout().lock();
    if arguments.json {
        let apps: Vec<_> = apps
            .iter()
            .map(|app| {
                json!({
                    "app_id": app.id, "title": app.title, "created_at": app.created_at,
                    "expires_at": app.expires_at, "settings": app.settings,
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "apps": apps }))?;
    } else {
        for app in &apps {
            let kind = if app.expires_at.is_some() { "  (temporary)" } else { "" };
            writeln!(out, "{}  {}{kind}", app.id, app.title)?;
        }
        eprintln!("{} apps", apps.len());
    }
    Ok(out.flush()?)
}

async fn set(arguments: &SetArguments) -> Result<(), Failure> {
    let id = AppId::new(arguments.app);
    let change = SettingsChange {
        operators: arguments.operators.map(Switch::is_on),
        extensions: arguments.extensions.map(Switch::is_on),
        status: arguments.status.map(Status::state),
    };
    let settings = match arguments.place.remote() {
        Some(remote) => {
            let path = format!("/dash/apps/{id}/settings");
            let mut answer = remote.send(Method::POST, &path, None, &json!(change)).await?;
            answer["settings"].take()
        }
        None => {
            let store = arguments.place.existing_store().await?;
            let settings = store.change_settings(id, &change).await;
            store.close().await?;
            json!(settings?.ok_or(StoreError::NoSuchApp(id))?)
        }
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", json!({ "app_id": id, "settings": settings }))?;
    } else {
        for (name, value) in settings.as_object().into_iter().flatten() {
            let shown = match value.as_bool() {
                Some(is_on) => (if is_on { "on" } else { "off" }).to_owned(),
                None => value.to_string(),
            };
            writeln!(out, "{name:<12} {shown}")?;
        }
    }
    Ok(out.flush()?)
}

async fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let id = AppId::new(arguments.app);
    match arguments.place.remote() {
        Some(remote) => {
            let path = format!("/superadmin/apps/{id}");
            remote.send(Method::DELETE, &path, None, &json!({})).await?;
        }
        None => {
            let store = arguments.place.existing_store().await?;
            let existed = store.delete_app(id).await;
            store.close().await?;
            if !existed? {
                return Err(StoreError::NoSuchApp(id).into());
            }
        }
    }
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", json!({ "app_id": id }))?,
        false => writeln!(out, "deleted {id}")?,
    }
    Ok(out.flush()?)
}
