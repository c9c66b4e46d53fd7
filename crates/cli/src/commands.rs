//! The commands of the program, a module each: its arguments and one `run` function.

pub(crate) mod import;
