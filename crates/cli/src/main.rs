//! The `tricedb` program.

mod import;

fn main() {}
