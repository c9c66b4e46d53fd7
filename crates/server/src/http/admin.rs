//! `/admin/query`, `/admin/explain` and `/admin/transact`.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tricedb_core::query::Inference;
use tricedb_core::tx::MissingAttrs;
use tricedb_protocol::ErrorBody;

use super::Site;
use super::body::{answer, read_object};
use super::credentials::{Caller, authorize};
use super::problem::Problem;
use crate::app::AppError;
use crate::session::Apps as _;

/// An app that closes just when it is asked is opened again; a query may be asked twice.
const QUERY_ATTEMPTS: usize = 3;

pub(super) async fn query(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (app, _) = authorize(&site, &headers, &uri).await?;
    let mut body = read_object(body).await?;
    let query = query_of(&mut body)?;
    let inference = match flag(&body, "inference?")? {
        true => Inference::Singular,
        false => Inference::Arrays,
    };
    let mut attempts = 0;
    loop {
        attempts += 1;
        let handle = site.registry.open(app).await?;
        match handle.admin_query(query.clone(), inference).await {
            Err(AppError::Closed) if attempts < QUERY_ATTEMPTS => {}
            result => return Ok(answer(result?).await),
        }
    }
}

/// Ours alone: how a query is answered.
pub(super) async fn explain(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (app, _) = authorize(&site, &headers, &uri).await?;
    let query = query_of(&mut read_object(body).await?)?;
    let handle = site.registry.open(app).await?;
    Ok(answer(json!(handle.explain(query).await?)).await)
}

fn query_of(body: &mut Map<String, Json>) -> Result<Json, ErrorBody> {
    match body.remove("query") {
        Some(query @ Json::Object(_)) => Ok(query),
        None | Some(Json::Null) => Err(ErrorBody::missing(&["body", "query"])),
        Some(other) => Err(ErrorBody::malformed(&["body", "query"], other)),
    }
}

pub(super) async fn transact(
    State(site): State<Arc<Site>>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (app, caller) = authorize(&site, &headers, &uri).await?;
    let mut body = read_object(body).await?;
    let steps = match body.remove("steps") {
        Some(steps @ Json::Array(_)) => steps,
        None | Some(Json::Null) => return Err(ErrorBody::missing(&["body", "steps"]).into()),
        Some(other) => return Err(ErrorBody::malformed(&["body", "steps"], other).into()),
    };
    let missing = match flag(&body, "throw-on-missing-attrs?")? {
        true => MissingAttrs::Refuse,
        false => MissingAttrs::Create,
    };
    let handle = site.registry.open(app).await?;
    let position = match caller {
        Caller::Admin => handle.admin_transact(steps, missing).await?,
        Caller::Guest => handle.guest_transact(steps, missing).await?,
    };
    Ok(answer(json!({ "tx-id": position })).await)
}

/// A flag of a body; absent is off.
pub(super) fn flag(body: &Map<String, Json>, name: &str) -> Result<bool, ErrorBody> {
    match body.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(other) => Err(ErrorBody::malformed(&["body", name], other.clone())),
    }
}
