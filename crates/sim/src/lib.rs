//! Deterministic simulation of TriceDB: many clients, one server, their disks and the network between them,
//! under virtual time and from one seed.
//!
//! A [`Plan`] is made from a seed: a list of actions (writes, cuts, crashes, full disks, slow readers,
//! schema changes, rooms). [`run`] carries it out in a world in which every byte takes its virtual time, and
//! judges everything that happens against the promises of TriceDB and a naive model of the data. The same
//! plan gives the same trace, always. A plan that breaks a promise is cut down by [`shrink`] to a short
//! story.

mod coverage;
mod disks;
mod history;
mod judge;
mod model;
mod network;
mod plan;
mod random;
mod running;
mod shrinking;
mod trace;
mod violation;
mod world;

pub use coverage::Coverage;
pub use plan::{Action, AdminChange, ClientMode, Disk, Notice, Plan, Population, Step, Write};
pub use running::{Failure, Ran, run, run_seeds, story};
pub use shrinking::shrink;
pub use violation::{Promise, Violation};
