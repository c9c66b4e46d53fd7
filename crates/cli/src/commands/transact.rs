//! `tricedb transact`: runs one transaction on an app.

use std::io::{self, Write as _};

use clap::Args;
use hyper::Method;
use serde_json::json;
use tricedb_core::tx::MissingAttrs;

use super::query::read_json;
use super::target::{Failure, Target};

/// Runs one transaction on an app
#[derive(Args, Debug)]
pub(crate) struct TransactArguments {
    /// The steps as JSON, such as '[["update","todos","<id>",{"done":true}]]'; read from standard input if
    /// it is -
    steps: String,
    #[command(flatten)]
    target: Target,
    /// Refuse names that the app does not have, instead of making attributes for them
    #[arg(long)]
    strict: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints the position of the commit, which is durable then.
pub(crate) async fn run(arguments: &TransactArguments) -> Result<(), Failure> {
    let steps = read_json(&arguments.steps)?;
    let target = &arguments.target;
    let position = match target.place.remote() {
        Some(remote) => {
            let body = json!({ "steps": steps, "throw-on-missing-attrs?": arguments.strict });
            let answer =
                remote.send(Method::POST, "/admin/transact", Some(target.app()), &body).await?;
            answer["tx-id"].clone()
        }
        None => {
            let missing = match arguments.strict {
                true => MissingAttrs::Refuse,
                false => MissingAttrs::Create,
            };
            let app = target.open().await?;
            let position = app.handle.admin_transact(steps, missing).await;
            app.close().await?;
            json!(position?)
        }
    };
    let mut out = io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", json!({ "tx_id": position }))?,
        false => writeln!(out, "tx id  {position}")?,
    }
    Ok(out.flush()?)
}
