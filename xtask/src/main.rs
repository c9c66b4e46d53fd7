//! The suites of the project.
fn main() {}
