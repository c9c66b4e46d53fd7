//! Schemas and permission rules, as the official tools read and push them, with the app's admin token.

mod describe;
mod jobs;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tricedb_core::id::{AppId, parse_uuid};
use tricedb_core::schema::{self, Schema, SchemaStep, parse_schema_steps};
use tricedb_protocol::ErrorBody;
use uuid::Uuid;

use self::describe::{after, described};
use super::Site;
use super::admin::flag;
use super::apps::refuse_rules;
use super::body::{answer, read_object};
use super::credentials::{authorize, require_admin};
use super::problem::Problem;
use crate::app::{AppHandle, PushOptions, SchemaApplied, SchemaPlan};
use crate::clock::iso_seconds;
use crate::session::Apps as _;

type Reply = Result<Response, Problem>;
type Body = Result<Bytes, BytesRejection>;

/// The routes of this file.
pub(super) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/admin/schema", get(admin_schema))
        .route("/dash/apps/{id}", get(app))
        .route("/dash/apps/{id}/schema/pull", get(pull))
        .route("/dash/apps/{id}/schema/push/plan", post(plan))
        .route("/dash/apps/{id}/schema/push/apply", post(apply))
        .route("/dash/apps/{id}/schema/steps/apply", post(apply_steps))
        .route("/dash/apps/{id}/indexing-jobs/group/{group}", get(job_group))
        .route("/dash/apps/{id}/perms/pull", get(pull_rules))
        .route("/dash/apps/{id}/rules", post(push_rules))
        .route("/superadmin/apps/{id}/schema", get(schema_of))
        .route("/superadmin/apps/{id}/schema/push/plan", post(plan))
        .route("/superadmin/apps/{id}/schema/push/apply", post(apply))
        .route("/superadmin/apps/{id}/perms", get(pull_rules).post(push_rules))
}

/// `GET /superadmin/apps/:id`: what anybody may know who has the token.
pub(super) async fn app(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let app = admitted(&site, &headers, &id).await?;
    let record = site.registry.record(app).await?;
    let created_at = iso_seconds(record.created_at);
    let shown = json!({ "id": app, "title": record.title, "created_at": created_at });
    Ok(answer(json!({ "app": shown })).await)
}

async fn admin_schema(State(site): State<Arc<Site>>, uri: Uri, headers: HeaderMap) -> Reply {
    let (app, _) = authorize(&site, &headers, &uri).await?;
    let attrs = site.registry.open(app).await?.pull_attrs().await?;
    Ok(answer(json!({ "schema": described(&attrs) })).await)
}

async fn schema_of(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    let app = admitted(&site, &headers, &id).await?;
    let attrs = site.registry.open(app).await?.pull_attrs().await?;
    Ok(answer(json!({ "schema": described(&attrs) })).await)
}

async fn pull(State(site): State<Arc<Site>>, Path(id): Path<String>, headers: HeaderMap) -> Reply {
    let app = admitted(&site, &headers, &id).await?;
    let attrs = site.registry.open(app).await?.pull_attrs().await?;
    let title = site.registry.record(app).await?.title.clone();
    let schema = described(&attrs);
    Ok(answer(json!({ "schema": schema, "attrs": attrs, "app-title": title })).await)
}

async fn plan(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let handle = open(&site, &headers, &id).await?;
    let Push { schema, options, types } = read_push(body).await?;
    let SchemaPlan { attrs, steps } = handle.plan_schema(schema, options).await?;
    let steps: Vec<_> = steps.into_iter().filter(|step| types.allow(step)).collect();
    let steps_json: Vec<_> = steps.iter().map(SchemaStep::to_json).collect();
    Ok(answer(json!({
        "new-schema": described(&after(&attrs, steps.iter())),
        "current-schema": described(&attrs),
        "current-attrs": attrs,
        "steps": steps_json,
    }))
    .await)
}

async fn apply(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let handle = open(&site, &headers, &id).await?;
    let Push { schema, options, types } = read_push(body).await?;
    let applied = match types {
        Types::Checked => handle.apply_schema(schema, options).await?,
        Types::Unchecked => {
            let SchemaPlan { steps, .. } = handle.plan_schema(schema, options).await?;
            let steps = steps.into_iter().filter(|step| types.allow(step)).collect();
            handle.apply_schema_steps(steps).await?
        }
    };
    let mut shown = told(&handle, &applied);
    shown["new-schema"] = described(&after(&applied.attrs, applied.steps.iter().map(|s| &s.0)));
    shown["current-schema"] = described(&applied.attrs);
    shown["current-attrs"] = json!(applied.attrs);
    Ok(answer(shown).await)
}

async fn apply_steps(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let handle = open(&site, &headers, &id).await?;
    let mut body = read_object(body).await?;
    let steps = match body.remove("steps") {
        Some(steps @ Json::Array(_)) => steps,
        None | Some(Json::Null) => return Err(ErrorBody::missing(&["body", "steps"]).into()),
        Some(other) => return Err(ErrorBody::malformed(&["body", "steps"], other).into()),
    };
    let steps = parse_schema_steps(&steps).map_err(|error| {
        ErrorBody::bad_request(error.kind().type_name(), error.message(), error.hint().clone())
    })?;
    let applied = handle.apply_schema_steps(steps).await?;
    Ok(answer(told(&handle, &applied)).await)
}

/// What was done, as tools read it.
fn told(handle: &AppHandle, applied: &SchemaApplied) -> Json {
    let steps: Vec<_> = applied
        .steps
        .iter()
        .map(|(step, job)| {
            let mut step = step.to_json();
            if let Some(job) = job {
                step[1]["job-id"] = json!(job);
            }
            step
        })
        .collect();
    let transaction = match applied.position {
        Some(position) => json!({ "id": position, "app_id": handle.app() }),
        None => json!({}),
    };
    let jobs = applied.jobs.as_ref().map(|(group, jobs)| {
        let jobs: Vec<_> = jobs.iter().map(|job| jobs::to_json(handle.app(), job)).collect();
        json!({ "group-id": group, "jobs": jobs })
    });
    json!({ "transaction": transaction, "steps": steps, "indexing-jobs": jobs })
}

async fn job_group(
    State(site): State<Arc<Site>>,
    Path((id, group)): Path<(String, String)>,
    headers: HeaderMap,
) -> Reply {
    let handle = open(&site, &headers, &id).await?;
    let group = uuid(&group, &["params", "group_id"])?;
    let jobs = handle.jobs(group).await?;
    let jobs: Vec<_> = jobs.iter().map(|job| jobs::to_json(handle.app(), job)).collect();
    Ok(answer(json!({ "jobs": jobs })).await)
}

async fn pull_rules(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Reply {
    admitted(&site, &headers, &id).await?;
    Ok(answer(json!({ "perms": null })).await)
}

/// Takes rules that forbid nothing, and refuses others rather than not enforce them.
async fn push_rules(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Reply {
    let app = admitted(&site, &headers, &id).await?;
    let body = read_object(body).await?;
    let code = match body.get("code") {
        Some(code) => code.clone(),
        None => return Err(ErrorBody::missing(&["body", "code"]).into()),
    };
    refuse_rules(Some(&code))?;
    Ok(answer(json!({ "rules": { "app_id": app, "code": code, "version": 1 } })).await)
}

/// The app of a path, once the caller has shown its admin token.
async fn admitted(site: &Site, headers: &HeaderMap, id: &str) -> Result<AppId, Problem> {
    let app = AppId::new(uuid(id, &["params", "app_id"])?);
    require_admin(site, headers, app).await?;
    Ok(app)
}

async fn open(site: &Site, headers: &HeaderMap, id: &str) -> Result<AppHandle, Problem> {
    let app = admitted(site, headers, id).await?;
    Ok(site.registry.open(app).await?)
}

fn uuid(text: &str, place: &[&str]) -> Result<Uuid, ErrorBody> {
    parse_uuid(text.trim()).ok_or_else(|| ErrorBody::malformed(place, text.into()))
}

/// The body of a push.
struct Push {
    schema: Schema,
    options: PushOptions,
    types: Types,
}

/// Whether a push may change enforced types.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Types {
    Checked,
    Unchecked,
}

impl Types {
    fn allow(self, step: &SchemaStep) -> bool {
        use tricedb_core::schema::JobKind;
        let SchemaStep::Job { kind, .. } = step else { return true };
        self == Self::Checked
            || !matches!(kind, JobKind::CheckDataType(_) | JobKind::RemoveDataType)
    }
}

async fn read_push(body: Body) -> Result<Push, Problem> {
    let body: Map<String, Json> = read_object(body).await?;
    let schema = match body.get("schema") {
        None | Some(Json::Null) => return Err(ErrorBody::missing(&["body", "schema"]).into()),
        Some(schema) => schema::parse(schema).map_err(|error| {
            ErrorBody::bad_request(error.kind().type_name(), error.message(), error.hint())
        })?,
    };
    let options = match flag(&body, "supports_background_updates")? {
        true => PushOptions::Background,
        false => PushOptions::AtOnce,
    };
    let types = match flag(&body, "check_types")? {
        true => Types::Checked,
        false => Types::Unchecked,
    };
    Ok(Push { schema, options, types })
}
