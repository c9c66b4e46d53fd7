//! Pending transactions laid over facts, changed piece by piece, against the same from scratch.

use std::collections::BTreeSet;

use tricedb_core::attr::Attr;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::triple::Triple;
use tricedb_core::tx::parse_steps;

use super::*;
use crate::engine::facts::{drop_fact, fact_of, put_fact};
use crate::engine::pending::{Outbox, Pending, Stage};
use crate::engine::view::{Reader, View};

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const ID: u128 = 1;
const NAME: u128 = 2;
const CODE: u128 = 3;
const PARENT: u128 = 4;
const TAGS: u128 = 5;
const MATE: u128 = 6;

fn attr_id(n: u128) -> String {
    uuid::Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n).to_string()
}

fn attr(n: u128, label: &str, fields: Json) -> Arc<Attr> {
    let mut attr = json!({"id": attr_id(n), "forward-identity": [attr_id(100 + n), "a", label],
        "value-type": "blob", "cardinality": "one", "unique?": false, "index?": false});
    if fields["value-type"] == "ref" {
        attr["reverse-identity"] = json!([attr_id(200 + n), "a", format!("of-{label}")]);
    }
    for (key, value) in fields.as_object().unwrap() {
        attr[key] = value.clone();
    }
    Arc::new(serde_json::from_value(attr).unwrap())
}

fn blank() -> TripleIndex {
    let mut index = TripleIndex::new();
    for attr in [
        attr(ID, "id", json!({"unique?": true})),
        attr(NAME, "name", json!({})),
        attr(CODE, "code", json!({"unique?": true, "index?": true})),
        attr(PARENT, "parent", json!({"value-type": "ref", "on-delete": "cascade"})),
        attr(TAGS, "tags", json!({"value-type": "ref", "cardinality": "many"})),
        attr(MATE, "mate", json!({"value-type": "ref", "unique?": true})),
    ] {
        index.put_attr(attr);
    }
    index
}

/// Steps over few entities and values, so that everything meets everything.
fn steps(dice: &mut Dice) -> Json {
    let id = |n: u64| json!(entity(n.into()).to_string());
    let mut steps = Vec::new();
    for _ in 0..=dice.roll(3) {
        let subject = match dice.roll(6) {
            0 => json!([attr_id(CODE), format!("code {}", dice.roll(4))]),
            _ => id(dice.roll(8)),
        };
        let target = match dice.roll(6) {
            0 => json!([attr_id(CODE), format!("code {}", dice.roll(4))]),
            _ => id(dice.roll(8)),
        };
        let mode = ["create", "update", "upsert"][dice.roll(3) as usize];
        let add = |attr: u128, value: Json| json!(["add-triple", subject, attr_id(attr), value, {"mode": mode}]);
        steps.extend(match dice.roll(10) {
            0 => vec![json!(["delete-entity", subject, "a"])],
            1 => vec![json!(["retract-triple", subject, attr_id(TAGS), target])],
            2 => vec![add(PARENT, target)],
            3 => vec![add(TAGS, target)],
            4 => vec![add(MATE, target)],
            5 => vec![add(CODE, json!(format!("code {}", dice.roll(4))))],
            6 => vec![json!(["update-triple", subject, attr_id(NAME), {"$push": [1]}])],
            _ if subject.is_string() => {
                vec![add(ID, subject.clone()), add(NAME, json!([dice.roll(5)]))]
            }
            _ => vec![add(NAME, json!([dice.roll(5)]))],
        });
    }
    Json::Array(steps)
}

fn pending(seq: u64, steps: &Json) -> Option<Pending> {
    Some(Pending {
        seq,
        name: EventId::new(seq.to_string()),
        event: EventId::new(seq.to_string()),
        operations: Vec::new(),
        steps: parse_steps(steps).ok()?,
        revision: 0,
        created_at: seq as i64,
        attempts: 0,
        stage: Stage::Waiting { not_before: None },
        failures: 0,
        last_error: None,
        sent_len: 0,
        writes: Vec::new(),
        is_restored: false,
    })
}

fn facts(index: &TripleIndex) -> BTreeSet<String> {
    index.triples().map(|triple| format!("{triple:?}")).collect()
}

fn a_fact(dice: &mut Dice, at: i64) -> Triple {
    let n = [ID, NAME, CODE, PARENT, TAGS, MATE][dice.roll(6) as usize];
    let subject = entity(dice.roll(8).into());
    let value = match n {
        ID => json!(subject.to_string()),
        NAME => json!([dice.roll(5), "server"]),
        CODE => json!(format!("code {}", dice.roll(4))),
        _ => json!(entity(dice.roll(8).into()).to_string()),
    };
    serde_json::from_value(json!([subject.to_string(), attr_id(n), value, at])).unwrap()
}

/// One step of what may happen to a queue and to the facts below it.
fn happen(dice: &mut Dice, base: &mut TripleIndex, view: &mut View, outbox: &mut Outbox, at: u64) {
    match dice.roll(8) {
        0..=3 => {
            if let Some(pending) = pending(at, &steps(dice)) {
                outbox.push(pending);
            }
        }
        4 => {
            let numbers = outbox.numbers();
            if !numbers.is_empty() {
                outbox.remove(numbers[dice.roll(numbers.len() as u64) as usize]);
            }
        }
        5 => {
            let numbers = outbox.numbers();
            if !numbers.is_empty() {
                let seq = numbers[dice.roll(numbers.len() as u64) as usize];
                let steps = parse_steps(&steps(dice)).unwrap();
                outbox.edit(seq, |pending| {
                    pending.steps = steps;
                    pending.revision += 1;
                });
            }
        }
        _ => {
            let held: Vec<HeldFact> = base.triples().filter_map(|t| fact_of(base, &t)).collect();
            let mut dropped: Vec<HeldFact> =
                held.into_iter().filter(|_| dice.roll(5) == 0).collect();
            let put: Vec<Triple> = (0..=dice.roll(3)).map(|_| a_fact(dice, at as i64)).collect();
            // What a server says is consistent: a unique value or a mate has one owner.
            let put: Vec<Triple> = put
                .into_iter()
                .filter(|triple| {
                    let taken = base.triples().any(|other| {
                        let n = triple.attr.uuid().to_string();
                        (n == attr_id(CODE) || n == attr_id(MATE))
                            && other.attr == triple.attr
                            && other.value.to_json() == triple.value.to_json()
                    });
                    !taken
                })
                .take(1)
                .collect();
            dropped.retain(|fact| put.iter().all(|p| fact_of(base, p).as_ref() != Some(fact)));
            for fact in &dropped {
                drop_fact(base, fact);
            }
            for triple in &put {
                put_fact(base, triple);
            }
            view.change(&put, &dropped);
        }
    }
}

#[test]
fn layers_changed_piece_by_piece_are_those_laid_from_scratch() {
    for seed in 1..=60 {
        let mut dice = Dice(seed);
        let (mut base, mut outbox) = (blank(), Outbox::default());
        let mut view = View::new(base.clone());
        for at in 1..60 {
            happen(&mut dice, &mut base, &mut view, &mut outbox, at);
            if dice.roll(3) == 0 {
                continue;
            }
            view.align(&outbox, None, Reader::default(), &mut *ids(7));
            outbox.forget_changes();
            let mut anew = View::new(base.clone());
            anew.align(&outbox, None, Reader::default(), &mut *ids(7));
            assert_eq!(facts(view.index()), facts(anew.index()), "seed {seed}, step {at}");
            for fact in base.triples().filter_map(|t| fact_of(&base, &t)) {
                let below = base.triples().find(|t| fact_of(&base, t) == Some(fact));
                assert_eq!(view.confirmed(&fact), below, "seed {seed}, step {at}");
            }
            for fact in view.index().triples().filter_map(|t| fact_of(view.index(), &t)) {
                let is_below = base.triples().any(|t| fact_of(&base, &t) == Some(fact));
                assert_eq!(view.confirmed(&fact).is_some(), is_below, "seed {seed}, step {at}");
            }
        }
        assert_eq!(facts(view.base()), facts(&base), "seed {seed}");
    }
}

#[test]
fn a_result_touches_only_the_pending_transactions_that_share_something_with_it() {
    let mut client = Client::new(1);
    client.open_session();
    let key = client.subscribe(q());
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 100}),
    );
    client.transact(todo(1, "one"));
    let first = client.sent.pop().unwrap();
    client.say(&ack(&first, 101));
    let refreshed = refresh(&client, &first, 101);
    client.say(&refreshed);
    client.lose();
    for n in 2..300 {
        client.transact(todo(n, "more"));
    }
    client.transact(tx("todos", entity(1)).update(json!({"title": "uno"})));
    let laid = client.engine.local.view.laid();
    client.pass(60_000);
    client.sent.clear();
    client.open_session();
    let mut retitled = triples_of(&first, 1_700_000_000_500);
    retitled.iter_mut().filter(|t| t[2] == "one").for_each(|t| t[2] = json!("theirs"));
    client.say(&json!({"op": "add-query-ok", "q": q(), "result": result(&retitled),
        "processed-tx-id": 102}));
    assert_eq!(client.titles(&key)[0], "uno");
    assert_eq!(client.engine.local.view.laid() - laid, 1, "the one on the todo that changed");
}

#[test]
fn a_long_queue_costs_each_write_no_more_than_a_short_one() {
    let mut client = Client::new(1);
    client.engine.settings.pending_max = 100_000;
    client.lose();
    let key = client.subscribe(q());
    for n in 1..2_000 {
        client.engine.transact(client.now, todo(n, "x").into_operations()).unwrap();
    }
    client.drain();
    assert_eq!(client.titles(&key).len(), 1_999);
    assert_eq!(client.engine.local.view.laid(), 1_999, "each was laid once");
}
