//! Two writes of one value.

use super::*;

/// The conflicts told so far.
fn conflicts(client: &Client) -> Vec<(Option<Json>, Option<Json>, Winner)> {
    let told = client.events.iter().filter_map(|event| match event {
        SyncEvent::ConflictResolved(c) => Some((c.local.clone(), c.remote.clone(), c.winner)),
        _ => None,
    });
    told.collect()
}

/// A client that renamed a todo, and the result of its query with another title.
fn one_renamed() -> (Client, Json, impl Fn(&str) -> Json) {
    let (mut client, _, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.transact(tx("todos", entity(1)).update(json!({"title": "mine"})));
    let renamed = client.sent.pop().unwrap();
    let triples = triples_of(&transact, 1_700_000_000_500);
    let titled = move |title: &str| {
        let retitled = triples.iter().map(|triple| {
            let title = if triple[2] == "one" { json!(title) } else { triple[2].clone() };
            json!([triple[0], triple[1], title, triple[3]])
        });
        result(&retitled.collect::<Vec<_>>())
    };
    (client, renamed, titled)
}

fn refreshed(result: Json, tx: u64) -> Json {
    json!({"op": "refresh-ok", "processed-tx-id": tx,
        "computations": [{"instaql-query": q(), "instaql-result": result}]})
}

#[test]
fn a_write_that_overtakes_anothers_tells_both_values() {
    let (mut client, renamed, titled) = one_renamed();
    client.say(&refreshed(titled("theirs"), 102));
    assert_eq!(conflicts(&client), [], "not settled yet");
    client.say(&ack(&renamed, 103));
    let (mine, theirs) = (Some(json!("mine")), Some(json!("theirs")));
    assert_eq!(conflicts(&client), [(mine, theirs, Winner::Local)]);
    client.say(&refreshed(titled("mine"), 103));
    assert_eq!(conflicts(&client).len(), 1);
}

#[test]
fn a_write_that_is_overtaken_tells_both_values() {
    let (mut client, renamed, titled) = one_renamed();
    client.say(&ack(&renamed, 102));
    client.say(&refreshed(titled("theirs"), 103));
    let (mine, theirs) = (Some(json!("mine")), Some(json!("theirs")));
    assert_eq!(conflicts(&client), [(mine.clone(), theirs.clone(), Winner::Remote)]);
    // The same when the result is there before the acknowledgement.
    let (mut client, renamed, titled) = one_renamed();
    client.say(&refreshed(titled("theirs"), 103));
    client.say(&ack(&renamed, 102));
    assert_eq!(conflicts(&client), [(mine, theirs, Winner::Remote)]);
}

#[test]
fn own_writes_in_a_row_are_no_conflict() {
    let (mut client, renamed, titled) = one_renamed();
    client.transact(tx("todos", entity(1)).update(json!({"title": "mine again"})));
    let again = client.sent.pop().unwrap();
    client.say(&refreshed(titled("mine"), 102));
    client.say(&ack(&renamed, 102));
    client.say(&ack(&again, 103));
    client.say(&refreshed(titled("mine again"), 103));
    assert_eq!(conflicts(&client), []);
}
