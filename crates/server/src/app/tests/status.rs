//! Apps that may be read only, or not be used at all.

use super::*;

fn set(app: &mut Harness, status: AppStatus) {
    app.state.set_settings(AppSettings { status, ..AppSettings::default() });
    app.settle();
}

fn error_kinds(messages: &[ServerMessage]) -> Vec<String> {
    let kind = |message: &ServerMessage| match message {
        ServerMessage::Error(error) => error.body.kind.clone(),
        _ => None,
    };
    messages.iter().filter_map(kind).collect()
}

#[test]
fn sessions_are_told_and_writes_refused_while_reads_go_on() {
    let mut app = Harness::volatile();
    let (one, two) = (app.open(), app.open());
    set(&mut app, AppStatus::ReadOnly);
    for session in [one, two] {
        assert_eq!(app.ops(session), ["app-status-changed"]);
        app.take(session);
    }
    app.transact(one, "w", &json!([["delete-entity", id(1), "todos"]]));
    app.add_query(one, &json!({"todos": {}}));
    let answers = app.take(one);
    assert_eq!(error_kinds(&answers), ["app-read-only"]);
    assert_eq!(answers.last().unwrap().op(), "add-query-ok");
    let late = app.open_with(Features::of("1.0.67"));
    let ServerMessage::InitOk(init) = app.take(late).remove(0) else { panic!() };
    assert_eq!(init.app_status.status, AppStatus::ReadOnly);
    set(&mut app, AppStatus::Active);
    set(&mut app, AppStatus::Active);
    assert_eq!(app.ops(two), ["app-status-changed"], "told once");
    app.transact(two, "x", &json!([["delete-entity", id(1), "todos"]]));
    assert_eq!(app.ops(two), ["app-status-changed", "transact-ok"]);
}

#[test]
fn of_a_disabled_app_nobody_hears_anything_more() {
    let mut app = Harness::volatile();
    let (writer, reader) = (app.open(), app.open());
    app.add_query(reader, &json!({"todos": {}}));
    app.take(reader);
    set(&mut app, AppStatus::Disabled);
    app.add_query(reader, &json!({"users": {}}));
    app.transact(writer, "w", &json!([["delete-entity", id(1), "todos"]]));
    assert_eq!(error_kinds(&app.take(reader)), ["app-disabled"]);
    assert_eq!(error_kinds(&app.take(writer)), ["app-disabled"]);
    assert_eq!(app.state.live_query_count(), 0);
}
