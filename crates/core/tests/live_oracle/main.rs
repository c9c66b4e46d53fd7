//! Live queries against evaluation from scratch, on random cases. `cargo xtask fuzz-queries` runs more.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod cases;
mod check;
mod shrink;

use check::Tally;

/// Checks the cases of a range of seeds.
fn check_seeds(seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let case = cases::case(seed);
        match check::check(&case) {
            Ok(one) => tally.add(one),
            Err(failure) => {
                let (case, failure) = shrink::shrink(&case, failure);
                panic!("seed {seed}: {failure}\n{}", case.to_json());
            }
        }
    }
    tally
}

/// Cases that fuzzing found, made small.
#[test]
fn what_failed_once_holds_for_ever() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("failed_once.json")).unwrap();
    for case in cases {
        let case = cases::Case::from_json(&case).unwrap();
        check::check(&case).unwrap();
    }
}

#[test]
fn a_live_query_equals_an_evaluation_from_scratch() {
    let tally = check_seeds(0..1_200);
    assert_eq!(tally.fallbacks, 0);
    // The cases are about something.
    assert!(tally.passed_over > 1_000 && tally.told_facts > 1_000, "{tally:?}");
    assert!(tally.filled > tally.compared / 4, "{tally:?}");
    assert!(tally.replans > 100 && tally.refills > 100, "{tally:?}");
}
