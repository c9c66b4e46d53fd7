//! Jobs as tools read them.

use serde_json::{Value as Json, json};
use tricedb_core::id::AppId;
use tricedb_core::schema::{JobErrorKind, Offender};

use crate::app::JobReport;
use crate::clock::iso_seconds;

pub(super) fn to_json(app: AppId, job: &JobReport) -> Json {
    let offenders = job.failure.iter().flat_map(|failure| &failure.offenders);
    let unique_value = job
        .failure
        .as_ref()
        .filter(|failure| failure.kind == JobErrorKind::TripleNotUnique)
        .and_then(|failure| failure.offenders.first())
        .map(|offender| offender.value.to_json());
    let sample = job.failure.as_ref().map(|_| offenders.map(offender).collect::<Vec<_>>());
    json!({
        "id": job.id,
        "app_id": app,
        "group_id": job.group,
        "attr_id": job.attr,
        "attr_name": job.attr_name,
        "job_type": job.kind.name(),
        "job_status": job.status.name(),
        "job_stage": job.stage,
        "work_estimate": job.estimate,
        "work_completed": job.completed,
        "error": job.failure.as_ref().map(|failure| failure.kind.name()),
        "checked_data_type": job.kind.checked_type(),
        "created_at": iso_seconds(job.created_at),
        "updated_at": iso_seconds(job.updated_at),
        "done_at": job.done_at.map(iso_seconds),
        "invalid_unique_value": unique_value,
        "invalid_triples_sample": sample,
        "error_data": null,
    })
}

fn offender(offender: &Offender) -> Json {
    json!({
        "entity_id": offender.entity,
        "value": offender.value,
        "json_type": offender.value.json_type().name(),
    })
}
