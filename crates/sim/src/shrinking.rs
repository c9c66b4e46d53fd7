//! Cutting a plan down to what it takes to break the promise.

use crate::plan::Plan;
use crate::running::run;
use crate::violation::Promise;

/// Leaves out whatever the failure does not need, with at most so many runs. The plan must break the
/// promise; what is returned breaks it too.
pub fn shrink(plan: &Plan, promise: Promise, runs_max: usize) -> Plan {
    let mut runs = 0;
    let mut fails = |plan: &Plan| {
        runs += 1;
        runs <= runs_max && run(plan).violation.is_some_and(|v| v.promise == promise)
    };
    let mut best = plan.clone();
    // What comes after the failure is of no use, but for the end, where everything is compared.
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut has_shrunk = false;
        while at < best.steps.len() {
            let end = (at + size).min(best.steps.len());
            let mut without = best.clone();
            without.steps.drain(at..end);
            if fails(&without) {
                best = without;
                has_shrunk = true;
            } else {
                at = end;
            }
        }
        if size == 1 && !has_shrunk {
            break;
        }
        size = if size == 1 { 1 } else { size / 2 };
    }
    best
}
