//! The same seed does the same, on any thread, and a cut plan is one that still fails.

use std::thread;

use tricedb_sim::{Plan, Population, run};

#[test]
fn the_same_seed_twice_gives_the_same_trace() {
    for seed in [3, 4, 5] {
        let once = run(&Plan::of(seed, 300, Population::Mixed));
        let again =
            thread::spawn(move || run(&Plan::of(seed, 300, Population::Mixed))).join().unwrap();
        assert_eq!((once.hash, once.events), (again.hash, again.events), "seed {seed}");
        assert!(once.events > 1_000, "seed {seed} did something");
    }
    assert_ne!(
        run(&Plan::of(6, 100, Population::Mixed)).hash,
        run(&Plan::of(9, 100, Population::Mixed)).hash
    );
}
