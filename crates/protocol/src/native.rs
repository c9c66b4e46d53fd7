//! Native sessions, version 1: what TriceDB's own clients and servers say to each other beyond InstantDB's
//! messages.
//!
//! A native session is negotiated in `init` ([`NativeOffer`], [`NativeSession`]); a server that does not
//! know it ignores the field, and the session is plain. In it the server sends no whole results again and
//! again: it keeps each subscription's **fact set** up to date on the client. The fact set of a query at a
//! position is every triple that the query's evaluation used or returned there; it suffices for
//! evaluating the query again. A [`SyncFrame`] over `(from, to]` says for each subscription what entered
//! the set, what is false now and what no longer belongs to it; after it the client stands at `to` for
//! all its subscriptions together. Acknowledgements travel in the same frames, so that a transaction's
//! pending form and its confirmed one change places in one step.
//!
//! Both encodings say the same: JSON, and a compact binary form in which facts stand in columns. The body
//! of a part is encoded once ([`PartBody::encode`]) for all sessions that hold the query; a frame only
//! strings such [`Fragment`]s together ([`write_frame`]).

mod bytes;
mod columns;
mod digest;
mod fragment;
mod frame;
mod opening;
mod subscribe;

pub use bytes::BinaryError;
pub use digest::{Digest, FactDigest, attrs_digest, fact_digest, set_digest};
pub use fragment::{Compression, Encoding, Fragment, PartBody, PartKind};
pub use frame::{
    Accepted, Ack, AckOutcome, FrameBytes, FrameHeader, Part, Replaced, SubId, SyncFrame,
    write_frame,
};
pub use opening::{NATIVE_VERSION, NativeOffer, NativeSession, ResumeOffer};
pub use subscribe::{Have, Subscribe, Unsubscribe};
