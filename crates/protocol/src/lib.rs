//! The messages that TriceDB clients and servers exchange, as plain types, and their JSON form.
//!
//! A frame from a client holds one [`ClientMessage`]; a frame from a server holds one [`ServerMessage`] or
//! an array of them. Both directions are read and written here, so that client and server cannot drift
//! apart. The names on the wire are InstantDB's.
//!
//! Reading from a client is strict where a wrong message must be answered: [`ClientMessage::decode`] fails
//! with a [`DecodeError`] that knows the answer. Reading from a server is tolerant: unknown ops and fields
//! are kept apart or skipped, and null means absent.
//!
//! ```
//! use tricedb_protocol::{ClientMessage, DecodeErrorKind};
//!
//! let message = ClientMessage::decode(r#"{"op":"remove-query","q":{"todos":{}}}"#)?;
//! assert_eq!(message.op(), "remove-query");
//!
//! let error = ClientMessage::decode(r#"{"op":"init"}"#).unwrap_err();
//! assert!(matches!(error.kind(), DecodeErrorKind::Missing { field: "app-id" }));
//! assert_eq!(error.to_message().body.message, r#"Missing parameter: ["app-id"]"#);
//! # Ok::<(), tricedb_protocol::DecodeError>(())
//! ```

mod client_message;
mod decode_error;
mod error_message;
pub mod native;
mod query_result;
mod rooms;
mod server_message;
mod versions;

pub use client_message::{AddQuery, ClientMessage, Init, RemoveQuery, ReturnType, Transact};
pub use decode_error::{DecodeError, DecodeErrorKind};
pub use error_message::{ErrorBody, ErrorMessage};
pub use query_result::{Aggregate, PageInfo, QueryAnswer, ResultData, ResultNode};
pub use rooms::{
    ClientBroadcast, ClientBroadcastOk, EditKind, JoinRoom, JoinRoomError, LeaveRoom,
    PatchPresence, PathPart, PresenceData, PresenceEdit, RefreshPresence, RoomOk, ServerBroadcast,
    SetPresence, Told,
};
pub use server_message::{
    AddQueryExists, AddQueryOk, AppState, AppStatus, Auth, Computation, FrameError, InitOk,
    RefreshOk, RemoveQueryOk, ServerMessage, TransactOk,
};
pub use versions::{CORE_PACKAGE, Features, Versions};
