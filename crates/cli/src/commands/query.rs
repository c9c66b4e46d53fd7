//! `tricedb query`: asks an app an InstaQL query.

use std::io::{self, Read as _, Write as _};

use clap::Args;
use hyper::Method;
use serde_json::{Value as Json, json};
use tricedb_core::query::{Explanation, Inference};

use super::target::{Failure, Target};

/// Asks an app an InstaQL query
#[derive(Args, Debug)]
pub(crate) struct QueryArguments {
    /// The query as JSON, such as '{"todos":{}}'; read from standard input if it is -
    query: String,
    #[command(flatten)]
    target: Target,
    /// Say how the query is answered instead: indexes, order, how it is kept up to date, work done
    #[arg(long)]
    explain: bool,
    /// Print the result as one line
    #[arg(long)]
    json: bool,
}

/// Prints the result as JSON.
pub(crate) async fn run(arguments: &QueryArguments) -> Result<(), Failure> {
    let query = read_json(&arguments.query)?;
    let target = &arguments.target;
    if arguments.explain {
        return explain(arguments, query).await;
    }
    let result = match target.place.remote() {
        Some(remote) => {
            let body = json!({ "query": query, "inference?": true });
            remote.send(Method::POST, "/admin/query", Some(target.app()), &body).await?
        }
        None => {
            let app = target.open().await?;
            let result = app.handle.admin_query(query, Inference::Singular).await;
            app.close().await?;
            result?
        }
    };
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{result}")?,
        false => writeln!(out, "{result:#}")?,
    }
    Ok(out.flush()?)
}

/// Prints how the query is answered.
async fn explain(arguments: &QueryArguments, query: Json) -> Result<(), Failure> {
    let target = &arguments.target;
    let explanation: Explanation = match target.place.remote() {
        Some(remote) => {
            let body = json!({ "query": query });
            let app = Some(target.app());
            serde_json::from_value(remote.send(Method::POST, "/admin/explain", app, &body).await?)?
        }
        None => {
            let app = target.open().await?;
            let explanation = app.handle.explain(query).await;
            app.close().await?;
            explanation?
        }
    };
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", json!(explanation))?,
        false => writeln!(out, "{explanation}")?,
    }
    Ok(out.flush()?)
}

/// An argument that is JSON, or `-` for standard input.
pub(crate) fn read_json(argument: &str) -> Result<Json, Failure> {
    if argument != "-" {
        return Ok(serde_json::from_str(argument)?);
    }
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
