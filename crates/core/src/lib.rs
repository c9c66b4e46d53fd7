//! The heart of TriceDB: values, attributes and triples, transactions, queries, and the index that both
//! work on. Client and server share all of it.
//!
//! This crate does no I/O, reads no clock and draws no random numbers: times and ids come in from
//! outside, so that the same inputs give the same outputs everywhere. Read [`index::TripleIndex`] first,
//! then [`tx`] for writing and [`query`] for reading. A program that brings its own storage or transport
//! implements a trait of [`port`].

pub mod attr;
pub mod catalog;
pub mod collation;
pub mod date;
pub mod entity;
pub mod id;
pub mod index;
#[cfg(feature = "mutants")]
#[doc(hidden)]
pub mod mutant;
pub mod port;
pub mod query;
pub mod schema;
pub mod triple;
pub mod tx;
pub mod value;
