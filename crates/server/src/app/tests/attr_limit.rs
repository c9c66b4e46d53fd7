//! An app does not take any number of attributes.

use super::*;

#[test]
fn a_transaction_that_makes_too_many_attributes_leaves_nothing() {
    let mut limits = AppLimits::default();
    let system = tricedb_core::schema::system_attrs().len();
    // `id`, `title` and one more.
    limits.attrs_max = system + 3;
    let mut app = Harness::with(limits, LoadedLog::default(), false);
    app.seed(&todos());
    let full = json!([["update", "todos", id(1), {"title": "new", "a": 1, "b": 2}]]);
    let ticket = app.admin(&full);
    app.flush_all();
    let error = app.answers.remove(&ticket).unwrap().unwrap_err();
    assert!(error.message.contains("at most"), "{error:?}");
    let titles = json!({"todos": [{"id": id(1), "title": "one"}, {"id": id(2), "title": "two"}]});
    assert_eq!(app.tree(&json!({"todos": {}})), titles);

    // One still fits, and what is there already can be written.
    app.seed(&json!([["update", "todos", id(1), {"a": 1}]]));
    app.seed(&json!([["update", "todos", id(2), {"a": 2, "title": "both"}]]));
    let session = app.open();
    let attr = json!({"id": id(90), "forward-identity": [id(91), "todos", "b"], "value-type": "blob",
        "cardinality": "one", "unique?": false, "index?": false});
    app.transact(session, "e", &json!([["add-attr", attr], ["add-triple", id(1), id(90), 1]]));
    app.flush_all();
    let answer = app.take(session);
    assert_eq!(error_kind(&answer), "validation-failed");
    assert_eq!(app.state.index().catalog().all().count(), system + 3);
}

fn error_kind(answer: &[ServerMessage]) -> String {
    error(&answer[0]).body.kind.clone().unwrap_or_default()
}
