//! The `tricedb` program.
fn main() {}
