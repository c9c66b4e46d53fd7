//! Bugs on purpose: the simulation must find each of them, or it finds nothing.

use std::thread;

use tricedb_core::mutant::{Mutant, plant};
use tricedb_sim::{Plan, Population, run};

/// Seeds within which each must be found.
const SEEDS: u64 = 100;

fn is_found(mutant: Mutant) -> Option<(u64, String)> {
    plant(Some(mutant));
    let found = (1..=SEEDS).find_map(|seed| {
        let violation = run(&Plan::of(seed, 500, Population::Plain)).violation?;
        Some((seed, violation.to_string()))
    });
    plant(None);
    found
}

#[test]
fn every_mutant_is_found() {
    // A panic is a way to be found.
    let found: Vec<(Mutant, Option<(u64, String)>)> = thread::scope(|scope| {
        let searches: Vec<_> = Mutant::ALL
            .into_iter()
            .map(|mutant| (mutant, scope.spawn(move || is_found(mutant))))
            .collect();
        searches.into_iter().map(|(mutant, search)| (mutant, search.join().unwrap())).collect()
    });
    for (mutant, found) in &found {
        println!("{mutant:?}: {found:?}");
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}

#[test]
fn without_a_mutant_the_same_seeds_keep_their_promises() {
    for seed in 1..=6 {
        let ran = run(&Plan::of(seed, 500, Population::Plain));
        assert_eq!(ran.violation, None, "seed {seed}");
    }
}
