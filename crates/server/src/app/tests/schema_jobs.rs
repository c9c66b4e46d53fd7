//! Jobs beside everything else: what they rest on may be lost, and programs end in the middle of them.

use std::sync::Arc;

use tricedb_core::attr::Attr;
use tricedb_core::schema::{JobKind, SchemaStep};

use super::*;

/// An app with enough rows that a job takes several parts.
fn many_rows() -> Harness {
    let mut app = Harness::logged();
    let steps: Vec<_> =
        (0..3_000).map(|n| json!(["update", "rows", id(n), {"k": format!("k{n}")}])).collect();
    let ticket = app.ticket();
    let now = app.now;
    app.state.admin_transact(ticket, &json!(steps), MissingAttrs::Create, now);
    app.settle();
    app.flush_all();
    app
}

fn attr(app: &Harness) -> Arc<Attr> {
    app.state.index().catalog().forward("rows", "k").unwrap().clone()
}

fn ask(app: &mut Harness, kind: JobKind) -> Ticket {
    let ticket = app.ticket();
    let step = SchemaStep::Job { kind, attr: attr(app).id, forward_identity: None };
    let now = app.now;
    app.state.apply_schema_steps(ticket, vec![step], now);
    app.settle();
    ticket
}

fn work_off(app: &mut Harness) {
    while app.state.has_work() {
        app.state.work(app.now);
        app.settle();
        app.flush_all();
    }
}

fn statuses(app: &mut Harness, group: Uuid) -> Vec<JobStatus> {
    let ticket = app.ticket();
    app.state.job_group(ticket, group);
    app.settle();
    match app.answers.remove(&ticket) {
        Some(Ok(Answer::Jobs(jobs))) => jobs.iter().map(|job| job.status).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_whose_commits_are_lost_begins_anew() {
    let mut app = many_rows();
    let ticket = ask(&mut app, JobKind::Index);
    assert!(attr(&app).indexing);
    assert!(!app.answers.contains_key(&ticket), "the mark is not durable");
    app.fail_flush();
    assert!(app.answers[&ticket].is_err());
    assert!(!attr(&app).indexed && app.state.has_work());
    work_off(&mut app);
    assert!(attr(&app).indexed && !attr(&app).indexing);
}

#[test]
fn a_finished_job_is_told_once_it_is_durable_and_undone_with_its_commit() {
    let mut app = many_rows();
    let ticket = ask(&mut app, JobKind::Unique);
    app.flush_all();
    let Some(Ok(Answer::Applied(applied))) = app.answers.remove(&ticket) else { panic!() };
    let (group, _) = applied.jobs.unwrap();
    while app.state.has_work() {
        app.state.work(app.now);
    }
    app.settle();
    app.fail_flush();
    assert!(app.state.has_work() && attr(&app).setting_unique);
    assert_eq!(statuses(&mut app, group), [JobStatus::Waiting]);
    work_off(&mut app);
    assert_eq!(statuses(&mut app, group), [JobStatus::Completed]);
    assert!(attr(&app).unique && !attr(&app).setting_unique);
}

#[test]
fn a_job_that_was_cut_off_goes_on_after_a_restart() {
    let mut app = many_rows();
    ask(&mut app, JobKind::Index);
    app.flush_all();
    assert!(attr(&app).indexing && app.state.has_work());
    let loaded = LoadedLog {
        index: app.state.index().clone(),
        position: app.state.position(),
        ..LoadedLog::default()
    };
    let mut app = Harness::with(AppLimits::default(), loaded, false);
    assert!(app.state.has_work());
    work_off(&mut app);
    assert!(attr(&app).indexed && !attr(&app).indexing);
}
