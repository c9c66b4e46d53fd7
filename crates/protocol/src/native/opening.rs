//! How a native session is agreed on, in `init` and `init-ok`.

use serde::{Deserialize, Serialize};
use tricedb_core::id::TxId;
use uuid::Uuid;

use super::digest::Digest;

/// The only version there is.
pub const NATIVE_VERSION: u32 = 1;

/// The field `native` of `init`: the client speaks native sessions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NativeOffer {
    /// The highest version that the client speaks.
    pub version: u32,
    /// Names the client for good: made once for each local database. Its transactions are numbered.
    pub client: Uuid,
    /// Whether it reads binary frames.
    #[serde(default)]
    pub binary: bool,
    /// Whether it reads fragments that are compressed with zstd.
    #[serde(default)]
    pub zstd: bool,
    /// What it holds from an earlier session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeOffer>,
}

/// What a returning client holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResumeOffer {
    /// The database's epoch; another one means that positions mean nothing.
    pub epoch: u64,
    /// The position at which it stands.
    pub position: TxId,
    /// Its subscriptions, see [`super::set_digest`].
    pub set: Digest,
    /// The facts of all its subscriptions: the wrapping sum of each one's digest times its number plus one.
    pub digest: Digest,
    /// The attribute list as it got it, see [`super::attrs_digest`].
    pub attrs: Digest,
}

/// The field `native` of `init-ok`: the session is native.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NativeSession {
    /// The version spoken from now on.
    pub version: u32,
    /// The database's epoch: another after every first start and restore.
    pub epoch: u64,
    /// The position at which the session begins: the one that the client named if it is resumed, else the
    /// server's.
    pub position: TxId,
    /// The server will send binary frames.
    #[serde(default)]
    pub binary: bool,
    /// Fragments may be compressed with zstd.
    #[serde(default)]
    pub zstd: bool,
    /// The session has the client's subscriptions and goes on from its position.
    #[serde(default)]
    pub resumed: bool,
    /// The attribute list is the one that the client named; `attrs` of `init-ok` is empty.
    #[serde(default)]
    pub attrs_same: bool,
}
