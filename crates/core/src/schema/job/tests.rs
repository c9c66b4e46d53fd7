use std::collections::BTreeSet;
use std::ops::Bound;

use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::attr::Identity;
use crate::id::IdentId;
use crate::triple::Triple;

const LABEL: AttrId = AttrId(Uuid::from_u128(2));
const AUTHOR: AttrId = AttrId(Uuid::from_u128(3));

fn entity(n: u128) -> EntityId {
    EntityId(Uuid::from_u128(1_000 + n))
}

fn fact(n: u128, attr: AttrId, value: Value) -> Triple {
    Triple { entity: entity(n), attr, value, created_at: 1 }
}

/// `count` posts; those whose number the function maps to something have that as their `label`.
fn posts(count: u128, label: impl Fn(u128) -> Option<Value>) -> TripleIndex {
    let ident = |n| IdentId::new(Uuid::from_u128(n));
    let id = AttrId(Uuid::from_u128(1));
    let mut index = TripleIndex::new();
    index.put_attr(Attr::blob(id, ident(11), "posts", "id").into());
    index.put_attr(Attr::blob(LABEL, ident(12), "posts", "label").into());
    let side = |n, etype: &str, label: &str| Identity {
        id: ident(n),
        etype: etype.into(),
        label: label.into(),
    };
    let author = Attr::link(AUTHOR, side(13, "posts", "author"), side(14, "users", "posts"));
    index.put_attr(author.into());
    for n in 0..count {
        index.insert(&fact(n, id, Value::Ref(entity(n))));
        if let Some(value) = label(n) {
            index.insert(&fact(n, LABEL, value));
        }
    }
    index
}

fn number(n: u128) -> Option<Value> {
    Some(Value::Int(i64::try_from(n).unwrap()))
}

/// Runs a job to its end, with something in between its parts; what became of it, and its commits.
fn run(
    index: &mut TripleIndex,
    kind: JobKind,
    limit: usize,
    mut between: impl FnMut(usize, &mut TripleIndex),
) -> (JobProgress, Vec<Commit>) {
    let mut job = AttrJob::new(LABEL, kind);
    let mut commits = Vec::new();
    for part in 0..1_000 {
        let (commit, progress) = job.advance(index, limit, 7);
        commits.extend((!commit.is_empty()).then_some(commit));
        if progress != JobProgress::Working {
            return (progress, commits);
        }
        between(part, index);
    }
    panic!("{job:?} does not end");
}

fn label(index: &TripleIndex) -> Attr {
    Attr::clone(index.catalog().live(LABEL).unwrap())
}

fn failed(progress: &JobProgress) -> &JobFailure {
    match progress {
        JobProgress::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

fn ordered(index: &TripleIndex) -> Option<Vec<EntityId>> {
    let slot = index.slot(LABEL).unwrap();
    let range = index.range(slot, Bound::Unbounded, Bound::Unbounded)?;
    Some(range.map(|handle| index.entity(handle)).collect())
}

#[test]
fn what_is_small_is_done_in_one_commit_that_can_be_taken_back() {
    let kinds = [
        JobKind::Index,
        JobKind::Unique,
        JobKind::Required,
        JobKind::CheckDataType(CheckedType::Number),
    ];
    for kind in kinds {
        let mut index = posts(5, number);
        let before = label(&index);
        let (progress, commits) = run(&mut index, kind, 100, |_, _| {});
        assert_eq!((progress, commits.len()), (JobProgress::Done, 1), "{kind:?}");
        assert!(AttrJob::new(LABEL, kind).is_so(&label(&index)), "{kind:?}");
        index.undo(&commits[0]);
        assert_eq!(label(&index), before, "{kind:?}");
        assert_eq!(ordered(&index), None);
    }
}

#[test]
fn what_is_large_is_built_while_writes_go_on() {
    let mut index = posts(50, |n| (n % 5 != 0).then(|| Value::Int(i64::try_from(n).unwrap())));
    let mut seen = BTreeSet::new();
    let (progress, commits) = run(&mut index, JobKind::Index, 7, |part, index| {
        let attr = label(index);
        assert!(attr.indexed && attr.indexing);
        seen.insert(ordered(index).is_some());
        // Before the place where the job is, and behind it.
        let value = Value::Int(-i64::try_from(part).unwrap());
        index.insert(&fact(1, LABEL, value.clone()));
        index.insert(&fact(49, LABEL, value));
    });
    assert_eq!(progress, JobProgress::Done);
    assert!(seen.contains(&false), "a half of an index was shown");
    let attr = label(&index);
    assert!(attr.indexed && !attr.indexing);
    assert_eq!(ordered(&index).unwrap().len(), 50, "those without a value have a null");
    let mut rebuilt = posts(0, number);
    rebuilt.put_attr(attr.into());
    for triple in index.triples() {
        rebuilt.insert(&triple);
    }
    assert_eq!(ordered(&rebuilt), ordered(&index));
    for commit in commits.iter().rev() {
        index.undo(commit);
    }
    assert_eq!(index.triple_count(), 50 + 40);
}

#[test]
fn a_large_attribute_becomes_unique_unless_two_share_a_value() {
    let mut index = posts(50, number);
    let (progress, _) = run(&mut index, JobKind::Unique, 7, |_, index| {
        assert!(label(index).unique && label(index).setting_unique);
    });
    assert_eq!(progress, JobProgress::Done);
    assert!(label(&index).unique && !label(&index).setting_unique);
    for n in 0..50 {
        let found = index.find_unique(LABEL, &number(n).unwrap()).unwrap();
        assert_eq!(index.entity(found), entity(n));
    }

    let mut index = posts(50, |n| number(if n == 44 { 3 } else { n }));
    for limit in [7, 100] {
        let before = label(&index);
        let (progress, _) = run(&mut index, JobKind::Unique, limit, |_, _| {});
        let failure = failed(&progress);
        assert_eq!(failure.kind, JobErrorKind::TripleNotUnique);
        let named: Vec<_> = failure.offenders.iter().map(|o| o.entity).collect();
        assert_eq!(named, [entity(3), entity(44)]);
        assert_eq!(failure.offenders[0].value, Value::Int(3));
        assert_eq!(label(&index), before);
    }
}

#[test]
fn types_and_required_values_are_refused_with_the_entities_in_the_way() {
    let odd = |n| match n {
        40 => Some(Value::from_json(json!("forty"))),
        45 => None,
        n => number(n),
    };
    let kind = JobKind::CheckDataType(CheckedType::Number);
    for limit in [7, 100] {
        let mut index = posts(50, odd);
        let before = label(&index);
        let (progress, commits) = run(&mut index, kind, limit, |_, _| {});
        assert_eq!(failed(&progress).kind, JobErrorKind::InvalidTriple);
        assert_eq!(failed(&progress).offenders[0].entity, entity(40));
        assert_eq!((label(&index), commits.len()), (before.clone(), 0));
        let (progress, _) = run(&mut index, JobKind::Required, limit, |_, _| {});
        assert_eq!(failed(&progress).kind, JobErrorKind::MissingRequired);
        assert_eq!(
            failed(&progress).offenders,
            [Offender { entity: entity(45), value: Value::Null }]
        );
        assert_eq!(label(&index), before);
    }
}

#[test]
fn what_comes_behind_the_first_look_is_found_by_the_second() {
    let mut index = posts(50, number);
    let kind = JobKind::CheckDataType(CheckedType::Number);
    let (progress, commits) = run(&mut index, kind, 7, |part, index| {
        if part == 2 {
            index.insert(&fact(0, LABEL, Value::Bool(true)));
        }
    });
    assert_eq!(failed(&progress).offenders[0].value, Value::Bool(true));
    assert_eq!(commits.len(), 2, "it was bound, and unbound");
    assert_eq!(label(&index).checked_data_type, None);
    assert!(!label(&index).checking_data_type);
}

#[test]
fn a_job_that_was_cut_off_is_found_and_ends_alike() {
    for kind in [JobKind::Index, JobKind::Unique, JobKind::CheckDataType(CheckedType::Number)] {
        let mut index = posts(50, number);
        let mut job = AttrJob::new(LABEL, kind);
        let is_marked = |index: &TripleIndex| {
            let attr = label(index);
            attr.indexing || attr.setting_unique || attr.checking_data_type
        };
        while !is_marked(&index) {
            assert_eq!(job.advance(&mut index, 7, 1).1, JobProgress::Working);
        }
        // What a restart gives: the definition as it stood, and the facts.
        let mut restarted = TripleIndex::new();
        for attr in index.catalog().all() {
            restarted.put_attr(attr.clone());
        }
        for triple in index.triples() {
            restarted.insert(&triple);
        }
        let mut jobs = AttrJob::unfinished(&restarted);
        assert_eq!(jobs.len(), 1, "{kind:?}");
        assert_eq!((jobs[0].attr(), jobs[0].kind()), (LABEL, kind));
        let mut progress = JobProgress::Working;
        while progress == JobProgress::Working {
            progress = jobs[0].advance(&mut restarted, 7, 1).1;
        }
        assert_eq!(progress, JobProgress::Done);
        assert!(AttrJob::new(LABEL, kind).is_so(&label(&restarted)), "{kind:?}");
        assert!(AttrJob::unfinished(&restarted).is_empty());
    }
}

#[test]
fn links_become_unique_unless_two_lead_to_one() {
    let mut index = posts(4, number);
    for n in 0..4 {
        index.insert(&fact(n, AUTHOR, Value::Ref(entity(100 + n))));
    }
    let mut job = AttrJob::new(AUTHOR, JobKind::Unique);
    assert_eq!(job.advance(&mut index, 2, 1).1, JobProgress::Done);
    let mut job = AttrJob::new(AUTHOR, JobKind::RemoveUnique);
    assert_eq!(job.advance(&mut index, 2, 1).1, JobProgress::Done);
    index.insert(&fact(3, AUTHOR, Value::Ref(entity(100))));
    let mut job = AttrJob::new(AUTHOR, JobKind::Unique);
    let (commit, progress) = job.advance(&mut index, 2, 1);
    assert!(commit.is_empty());
    assert_eq!(failed(&progress).offenders.len(), 2);
}

#[test]
fn values_too_large_for_an_index_are_named() {
    let large = "x".repeat(2_000);
    for limit in [7, 100] {
        let mut index =
            posts(50, |n| if n == 30 { Some(Value::from_json(json!(large))) } else { number(n) });
        let before = label(&index);
        let (progress, _) = run(&mut index, JobKind::Index, limit, |_, _| {});
        assert_eq!(failed(&progress).kind, JobErrorKind::TripleTooLarge);
        assert_eq!(failed(&progress).offenders[0].entity, entity(30));
        assert_eq!(label(&index), before);
    }
}
