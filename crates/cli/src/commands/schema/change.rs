//! Reading and changing the attributes of an app, in a data directory or on a server.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::id::AppId;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::SchemaStep;
use tricedb_server::app::{JobReport, JobStatus};

use super::super::target::{Failure, LocalApp, Target};
use crate::remote::Remote;

/// How long to wait before asking again how jobs stand.
const POLL: Duration = Duration::from_millis(100);

/// Where the app is.
pub(super) enum Place {
    Local(LocalApp),
    Remote(Remote, AppId),
}

impl Place {
    pub(super) async fn open(target: &Target) -> Result<Self, Failure> {
        Ok(match target.place.remote() {
            Some(remote) => Self::Remote(remote, target.app()),
            None => Self::Local(target.open().await?),
        })
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Local(app) => app.close().await,
            Self::Remote(..) => Ok(()),
        }
    }

    /// The attributes that the app has, in an index without facts.
    pub(super) async fn attributes(&self) -> Result<TripleIndex, Failure> {
        let attrs: Vec<Arc<Attr>> = match self {
            Self::Local(app) => app.handle.pull_attrs().await?,
            Self::Remote(remote, app) => {
                let path = format!("/dash/apps/{app}/schema/pull");
                let mut answer = remote.send(Method::GET, &path, None, &json!({})).await?;
                let attrs: Vec<Attr> = serde_json::from_value(answer["attrs"].take())?;
                attrs.into_iter().map(Arc::new).collect()
            }
        };
        let mut index = TripleIndex::new();
        for attr in attrs {
            index.put_attr(attr);
        }
        Ok(index)
    }

    /// Runs steps and waits until their jobs have ended.
    pub(super) async fn apply(&self, steps: Vec<SchemaStep>) -> Result<Change, Failure> {
        match self {
            Self::Local(app) => apply_here(app, steps).await,
            Self::Remote(remote, app) => apply_there(remote, *app, &steps).await,
        }
    }
}

async fn apply_here(app: &LocalApp, steps: Vec<SchemaStep>) -> Result<Change, Failure> {
    let applied = app.handle.apply_schema_steps(steps).await?;
    let mut jobs = Vec::new();
    if let Some((group, reports)) = applied.jobs {
        jobs = reports;
        while jobs.iter().any(|job| job.done_at.is_none()) {
            tokio::time::sleep(POLL).await;
            jobs = app.handle.jobs(group).await?;
        }
    }
    let jobs = jobs.iter().map(Job::of_report).collect();
    Ok(Change { tx_id: json!(applied.position), jobs })
}

async fn apply_there(remote: &Remote, app: AppId, steps: &[SchemaStep]) -> Result<Change, Failure> {
    let steps: Vec<_> = steps.iter().map(SchemaStep::to_json).collect();
    let path = format!("/dash/apps/{app}/schema/steps/apply");
    let answer = remote.send(Method::POST, &path, None, &json!({ "steps": steps })).await?;
    let group = answer["indexing-jobs"]["group-id"].as_str();
    let mut jobs = Job::all_of(&answer["indexing-jobs"]["jobs"]);
    if let Some(group) = group {
        let path = format!("/dash/apps/{app}/indexing-jobs/group/{group}");
        while jobs.iter().any(|job| !job.is_done) {
            tokio::time::sleep(POLL).await;
            jobs = Job::all_of(&remote.send(Method::GET, &path, None, &json!({})).await?["jobs"]);
        }
    }
    Ok(Change { tx_id: answer["transaction"]["id"].clone(), jobs })
}

/// What a push did.
pub(super) struct Change {
    /// The position of the commit that made, changed and deleted attributes; null if there was none.
    pub(super) tx_id: Json,
    pub(super) jobs: Vec<Job>,
}

impl Change {
    pub(super) const fn nothing() -> Self {
        Self { tx_id: Json::Null, jobs: Vec::new() }
    }

    /// A sentence for each job that failed, with the entities in the way.
    pub(super) fn failures(&self) -> Vec<String> {
        self.jobs.iter().filter_map(Job::failure).collect()
    }
}

/// A job that a push asked for.
pub(super) struct Job {
    attr: String,
    kind: String,
    status: String,
    is_done: bool,
    error: Option<String>,
    /// Entities and their values.
    offenders: Vec<(String, Json)>,
}

impl Job {
    fn of_report(report: &JobReport) -> Self {
        let failure = report.failure.as_ref();
        let offenders = failure.iter().flat_map(|failure| &failure.offenders);
        Self {
            attr: report.attr_name.clone(),
            kind: report.kind.name().into(),
            status: report.status.name().into(),
            is_done: matches!(report.status, JobStatus::Completed | JobStatus::Errored),
            error: failure.map(|failure| failure.kind.name().into()),
            offenders: offenders.map(|o| (o.entity.to_string(), o.value.to_json())).collect(),
        }
    }

    fn all_of(jobs: &Json) -> Vec<Self> {
        jobs.as_array().into_iter().flatten().map(Self::of_json).collect()
    }

    fn of_json(job: &Json) -> Self {
        let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
        let sample = job["invalid_triples_sample"].as_array().into_iter().flatten();
        let offender =
            |o: &Json| (o["entity_id"].as_str().unwrap_or_default().to_owned(), o["value"].clone());
        let status = text("job_status");
        Self {
            attr: text("attr_name"),
            kind: text("job_type"),
            is_done: !matches!(status.as_str(), "waiting" | "processing"),
            status,
            error: job["error"].as_str().map(str::to_owned),
            offenders: sample.map(offender).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Json {
        let offenders: Vec<_> = self
            .offenders
            .iter()
            .map(|(entity, value)| json!({ "entity_id": entity, "value": value }))
            .collect();
        json!({
            "attr": self.attr, "job": self.kind, "status": self.status, "error": self.error,
            "offenders": offenders,
        })
    }

    fn failure(&self) -> Option<String> {
        let Self { attr, kind, offenders, .. } = self;
        let why = match self.error.as_deref()? {
            "triple-not-unique-error" => "several entities share a value",
            "missing-required-error" => "entities lack a value",
            "invalid-triple-error" => "values are of another type",
            "triple-too-large-error" => "values are too large for an index",
            "invalid-attr-state-error" => "the attribute is gone or cannot be so",
            other => other,
        };
        let mut text = format!("{attr} is as it was, `{kind}` failed: {why}");
        for (entity, value) in offenders {
            let value: String = value.to_string().chars().take(60).collect();
            text += &format!("\n  {entity}  {value}");
        }
        Some(text)
    }
}
