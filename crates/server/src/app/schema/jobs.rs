//! The jobs of an app: waiting, at work and done.

use std::collections::VecDeque;

use serde_json::json;
use tricedb_core::id::{AttrId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::{AttrJob, JobFailure, JobKind, JobProgress};
use tricedb_core::tx::Commit;
use tricedb_protocol::ErrorBody;
use uuid::Uuid;

/// Where a job stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobStatus {
    /// Others come first.
    Waiting,
    /// Under way.
    Processing,
    /// The attribute is as asked.
    Completed,
    /// It could not be made so, and is as it was.
    Errored,
}

impl JobStatus {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Errored => "errored",
        }
    }
}

/// A job as those see it who asked for it. Times are in milliseconds since 1970.
#[derive(Clone, PartialEq, Debug)]
pub struct JobReport {
    /// Its id.
    pub id: Uuid,
    /// What the jobs of one push have in common.
    pub group: Uuid,
    /// The attribute.
    pub attr: AttrId,
    /// `namespace.label` when the job was made.
    pub attr_name: String,
    /// What is made of the attribute.
    pub kind: JobKind,
    /// Where it stands.
    pub status: JobStatus,
    /// What it is at, in a word.
    pub stage: &'static str,
    /// How many facts there are to look at; none before it has begun.
    pub estimate: Option<u64>,
    /// How many it has looked at.
    pub completed: u64,
    /// Why it failed.
    pub failure: Option<JobFailure>,
    /// When it was made.
    pub created_at: i64,
    /// When it last moved.
    pub updated_at: i64,
    /// When it ended.
    pub done_at: Option<i64>,
}

/// Jobs that are remembered or wait, all in all.
const JOBS_MAX: usize = 1_000;

#[derive(Debug)]
struct Entry {
    job: AttrJob,
    report: JobReport,
    /// The commit that its present standing rests on.
    position: TxId,
}

/// Nothing of this survives a restart but what the attributes carry: a job that was cut off begins again,
/// under another id.
#[derive(Debug, Default)]
pub(in crate::app) struct Jobs {
    /// Oldest first; they run in this order, one at a time.
    entries: VecDeque<Entry>,
}

impl Jobs {
    /// Takes up what a program that ended had not finished. Ids come from the attributes' own.
    pub(in crate::app) fn resumed(index: &TripleIndex, now: i64) -> Self {
        let mut jobs = Self::default();
        for job in AttrJob::unfinished(index) {
            let attr = job.attr();
            let name = index.catalog().get(attr).map(|a| format!("{}.{}", a.etype(), a.label()));
            jobs.push(attr.0, attr.0, attr, job.kind(), name.unwrap_or_default(), now);
        }
        jobs
    }

    /// Refuses jobs when too many wait.
    pub(super) fn check_room(&self, more: usize) -> Result<(), ErrorBody> {
        let waiting = self.entries.iter().filter(|entry| entry.is_open()).count();
        if waiting + more > JOBS_MAX {
            let message = format!("At most {JOBS_MAX} changes of attributes may wait.");
            return Err(ErrorBody::invalid("steps", &message, json!(more)));
        }
        Ok(())
    }

    pub(super) fn push(
        &mut self,
        id: Uuid,
        group: Uuid,
        attr: AttrId,
        kind: JobKind,
        attr_name: String,
        now: i64,
    ) {
        while self.entries.len() >= JOBS_MAX
            && let Some(oldest) = self.entries.iter().position(|entry| !entry.is_open())
        {
            self.entries.remove(oldest);
        }
        let report = JobReport {
            id,
            group,
            attr,
            attr_name,
            kind,
            status: JobStatus::Waiting,
            stage: "",
            estimate: None,
            completed: 0,
            failure: None,
            created_at: now,
            updated_at: now,
            done_at: None,
        };
        self.entries.push_back(Entry { job: AttrJob::new(attr, kind), report, position: TxId(0) });
    }

    pub(super) fn group(&self, group: Uuid) -> Vec<JobReport> {
        let of_group = self.entries.iter().filter(|entry| entry.report.group == group);
        of_group.map(Entry::report).collect()
    }

    /// The place of the job whose turn it is.
    pub(super) fn next(&self) -> Option<usize> {
        self.entries.iter().position(Entry::is_open)
    }

    pub(super) fn advance(
        &mut self,
        at: usize,
        index: &mut TripleIndex,
        limit: usize,
        now: i64,
    ) -> (Commit, JobProgress) {
        self.entries[at].job.advance(index, limit, now)
    }

    /// Notes what became of the last part of a job, which rests on the commit at `position`.
    pub(super) fn note(&mut self, at: usize, progress: JobProgress, position: TxId, now: i64) {
        let Entry { report, position: rests_on, .. } = &mut self.entries[at];
        *rests_on = position;
        report.updated_at = now;
        report.status = match progress {
            JobProgress::Working => JobStatus::Processing,
            JobProgress::Done => JobStatus::Completed,
            JobProgress::Failed(failure) => {
                report.failure = Some(failure);
                JobStatus::Errored
            }
        };
        if report.status != JobStatus::Processing {
            report.done_at = Some(now);
        }
    }

    /// Begins those jobs anew of which a part was taken back: all that rest on commits after `position`.
    pub(in crate::app) fn taken_back(&mut self, position: TxId) {
        for entry in &mut self.entries {
            let is_under_way = entry.report.status == JobStatus::Processing;
            if entry.position > position || is_under_way {
                entry.job = AttrJob::new(entry.report.attr, entry.report.kind);
                entry.position = TxId(0);
                let report = &mut entry.report;
                report.status = JobStatus::Waiting;
                report.failure = None;
                report.done_at = None;
            }
        }
    }
}

impl Entry {
    fn is_open(&self) -> bool {
        matches!(self.report.status, JobStatus::Waiting | JobStatus::Processing)
    }

    fn report(&self) -> JobReport {
        let (stage, estimate) = (self.job.stage(), self.job.estimate());
        let completed = self.job.completed().min(estimate.unwrap_or(u64::MAX));
        JobReport { stage, estimate, completed, ..self.report.clone() }
    }
}
