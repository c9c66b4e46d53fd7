//! Schema changes: the steps of a push, and the jobs that look at existing values in between other work.

mod jobs;

use std::sync::Arc;

use serde_json::json;
use tricedb_core::attr::{Attr, Catalog};
use tricedb_core::catalog::AttrCatalog;
use tricedb_core::id::{AttrId, TxId};
use tricedb_core::schema::{Schema, SchemaError, SchemaStep, in_background};
use tricedb_core::tx::{Actor, TxStep};
use tricedb_protocol::ErrorBody;
use uuid::Uuid;

use super::held::Remedy;
use super::refusal::{too_many_steps, tx_refused};
use super::state::{Answer, AppState, Output, Ticket};
pub(super) use jobs::Jobs;
pub use jobs::{JobReport, JobStatus};

/// How the changes of a push are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushOptions {
    /// Changes of flags are jobs.
    Background,
    /// Changes of flags are part of the transaction; only types take jobs.
    AtOnce,
}

/// What a push would do.
#[derive(Clone, PartialEq, Debug)]
pub struct SchemaPlan {
    /// The attributes that there are, sorted by id.
    pub attrs: Vec<Arc<Attr>>,
    /// What is to be done to them.
    pub steps: Vec<SchemaStep>,
}

/// What a push did.
#[derive(Clone, PartialEq, Debug)]
pub struct SchemaApplied {
    /// The attributes that there were before, sorted by id.
    pub attrs: Vec<Arc<Attr>>,
    /// The commit of those steps that are a transaction, if there were any.
    pub position: Option<TxId>,
    /// Every step, with the id of its job if it became one.
    pub steps: Vec<(SchemaStep, Option<Uuid>)>,
    /// The jobs as they stand, and the id that they have in common; none if no step takes one.
    pub jobs: Option<(Uuid, Vec<JobReport>)>,
}

/// Values that a job looks at before others have their turn: about half a millisecond.
const SLICE: usize = 500;
/// Slices done before the first answer, so that the jobs of small apps come back finished.
const SLICES_AT_ONCE: usize = 4;

impl AppState {
    /// Says what the app lacks of a schema.
    pub fn plan_schema(&mut self, ticket: Ticket, schema: &Schema, options: PushOptions) {
        let attrs = self.index.catalog().live_sorted();
        let answer = self
            .schema_steps(schema, options)
            .map(|steps| Answer::Planned(SchemaPlan { attrs, steps }))
            .map_err(|error| schema_refused(&error));
        self.answer_schema(ticket, answer);
    }

    /// Makes what the app lacks of a schema, in part by jobs. `now` is in milliseconds since 1970.
    pub fn apply_schema(
        &mut self,
        ticket: Ticket,
        schema: &Schema,
        options: PushOptions,
        now: i64,
    ) {
        let answer = self
            .schema_steps(schema, options)
            .map_err(|error| schema_refused(&error))
            .and_then(|steps| self.run_schema_steps(steps, now));
        self.answer_schema(ticket, answer);
    }

    /// Runs schema steps: those that make, change or delete attributes as one transaction, then a job for
    /// each other one, in order. `now` is in milliseconds since 1970.
    pub fn apply_schema_steps(&mut self, ticket: Ticket, steps: Vec<SchemaStep>, now: i64) {
        let answer = self.run_schema_steps(steps, now);
        self.answer_schema(ticket, answer);
    }

    /// Gives the jobs of a group as they stand.
    pub fn job_group(&mut self, ticket: Ticket, group: Uuid) {
        let jobs = self.jobs.group(group);
        let answer = match jobs.is_empty() {
            false => Ok(Answer::Jobs(jobs)),
            true => Err(ErrorBody::not_found("indexing-job-group", json!([{ "id": group }]))),
        };
        self.answer_schema(ticket, answer);
    }

    /// Whether jobs wait for [`Self::work`].
    pub fn has_work(&self) -> bool {
        self.jobs.next().is_some()
    }

    /// Does a bounded part of a job. `now` is in milliseconds since 1970.
    pub fn work(&mut self, now: i64) {
        let Some(at) = self.jobs.next() else { return };
        let time = self.time(now);
        let (commit, progress) = self.jobs.advance(at, &mut self.index, SLICE, time);
        let position = match commit.is_empty() {
            true => self.position,
            false => self.commit(commit, None, now),
        };
        self.jobs.note(at, progress, position, time);
    }

    fn answer_schema(&mut self, ticket: Ticket, answer: Result<Answer, ErrorBody>) {
        self.emit(Output::Answer { ticket, answer }, Remedy::FailTicket(ticket));
    }

    fn schema_steps(
        &mut self,
        schema: &Schema,
        options: PushOptions,
    ) -> Result<Vec<SchemaStep>, SchemaError> {
        let (catalog, ids) = self.catalog_and_ids();
        let plan = schema.plan(catalog, ids)?;
        Ok(match options {
            PushOptions::Background => in_background(plan, catalog),
            PushOptions::AtOnce => plan.into_iter().map(Into::into).collect(),
        })
    }

    fn run_schema_steps(&mut self, steps: Vec<SchemaStep>, now: i64) -> Result<Answer, ErrorBody> {
        let count_max = self.limits.steps_per_transaction_max;
        if steps.len() > count_max {
            return Err(too_many_steps("steps", count_max));
        }
        let attrs = self.index.catalog().live_sorted();
        let (mut attr_steps, mut jobs) = (Vec::new(), Vec::new());
        for step in &steps {
            match step {
                SchemaStep::Attr(step) => attr_steps.push(step.clone()),
                SchemaStep::Job { kind, attr, .. } => jobs.push((*attr, *kind)),
            }
        }
        self.jobs.check_room(jobs.len())?;
        for (attr, _) in &jobs {
            check_changeable(*attr, self.index.catalog(), &attr_steps)?;
        }
        let position = match attr_steps.is_empty() {
            true => None,
            false => {
                let commit =
                    self.execute(&attr_steps, Actor::Admin, now).map_err(|e| tx_refused(&e))?;
                Some(self.commit(commit, None, now))
            }
        };
        let (group, mut ids) = self.queue_jobs(&jobs, now);
        let steps = steps
            .into_iter()
            .map(|step| match step {
                SchemaStep::Attr(_) => (step, None),
                SchemaStep::Job { .. } => (step, ids.next()),
            })
            .collect();
        drop(ids);
        for _ in 0..SLICES_AT_ONCE {
            self.work(now);
        }
        let jobs = group.map(|group| (group, self.jobs.group(group)));
        Ok(Answer::Applied(SchemaApplied { attrs, position, steps, jobs }))
    }

    /// Queues jobs as one group; gives its id and theirs.
    fn queue_jobs(
        &mut self,
        jobs: &[(AttrId, tricedb_core::schema::JobKind)],
        now: i64,
    ) -> (Option<Uuid>, std::vec::IntoIter<Uuid>) {
        if jobs.is_empty() {
            return (None, Vec::new().into_iter());
        }
        let now = self.time(now);
        let group = self.catalog_and_ids().1.next_uuid();
        let mut ids = Vec::new();
        for (attr, kind) in jobs {
            let (catalog, source) = self.catalog_and_ids();
            let id = source.next_uuid();
            let name = catalog.get(*attr).map(|attr| format!("{}.{}", attr.etype(), attr.label()));
            self.jobs.push(id, group, *attr, *kind, name.unwrap_or_default(), now);
            ids.push(id);
        }
        (Some(group), ids.into_iter())
    }
}

/// Refuses jobs on what is not there, neither now nor by the steps that come with them, and on what is not
/// the app's own.
fn check_changeable(
    attr: AttrId,
    catalog: &AttrCatalog,
    steps: &[TxStep],
) -> Result<(), ErrorBody> {
    let is_made = steps.iter().any(|step| matches!(step, TxStep::AddAttr(new) if new.id == attr));
    match catalog.live(attr) {
        Some(known) if known.catalog == Catalog::System => {
            let message = format!(
                "{}.{} is the system's own and cannot be changed.",
                known.etype(),
                known.label()
            );
            Err(ErrorBody::invalid("steps", &message, json!(attr)))
        }
        None if !is_made => {
            let message = format!("There is no attribute with id {attr}.");
            Err(ErrorBody::invalid("steps", &message, json!(attr)))
        }
        _ => Ok(()),
    }
}

fn schema_refused(error: &SchemaError) -> ErrorBody {
    ErrorBody::bad_request(error.kind().type_name(), error.message(), error.hint())
}
