//! Frames: what a native session is told at once.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId, TxId};
use tricedb_core::value::Value;
use uuid::Uuid;

use super::bytes::{BinaryError, Put, Take};
use super::columns::{read_value, write_value};
use super::fragment::{Encoding, Fragment, PartBody};
use crate::error_message::ErrorBody;

/// A subscription of a session, numbered by the client.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SubId(pub u32);

/// Everything between two positions, as far as it concerns a session. On the wire `sync`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SyncFrame {
    /// Where the session stood.
    pub from: TxId,
    /// Where it stands with this frame.
    pub to: TxId,
    /// All attributes, if any changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attrs: Option<Vec<Attr>>,
    /// What became of the session's own transactions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acks: Vec<Ack>,
    /// What changed for its subscriptions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// One subscription's part of a frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The subscription.
    pub sub: SubId,
    /// What it is told.
    #[serde(flatten)]
    pub body: PartBody,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Ack {
    /// The number that the client gave it.
    pub seq: u64,
    /// What became of it.
    pub outcome: AckOutcome,
}

/// See [`Ack`].
#[derive(Clone, PartialEq, Debug)]
pub enum AckOutcome {
    /// It was committed.
    Accepted(Accepted),
    /// It was rejected. With a status of 500 and above nothing is settled: it is to be sent again.
    Rejected(ErrorBody),
    /// It was sent so long ago that nobody knows any more what became of it; it is settled.
    Forgotten,
}

/// A committed transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Accepted {
    /// Its position.
    pub tx: TxId,
    /// Proposed attributes that exist under another id: proposed, actual.
    pub attrs: Vec<(AttrId, AttrId)>,
    /// Facts that it wrote and that others had changed after the position on which it was based.
    pub was: Vec<Replaced>,
}

/// A value that a transaction replaced.
#[derive(Clone, PartialEq, Debug)]
pub struct Replaced {
    /// The entity.
    pub entity: EntityId,
    /// The attribute.
    pub attr: AttrId,
    /// The value before; `None` if there was none.
    pub value: Option<Value>,
}

/// An ack with the members that it may have on the wire.
#[derive(Serialize, Deserialize)]
struct AckForm {
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tx: Option<TxId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attrs: Vec<(AttrId, AttrId)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    was: Vec<WasForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

/// `[entity, attribute, value]`, or without the value if there was none.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WasForm {
    Value(EntityId, AttrId, Value),
    Nothing(EntityId, AttrId),
}

impl Serialize for Ack {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let blank = AckForm {
            seq: self.seq,
            tx: None,
            attrs: Vec::new(),
            was: Vec::new(),
            error: None,
            forgotten: false,
        };
        let form = match &self.outcome {
            AckOutcome::Accepted(Accepted { tx, attrs, was }) => AckForm {
                tx: Some(*tx),
                attrs: attrs.clone(),
                was: was.iter().cloned().map(WasForm::from).collect(),
                ..blank
            },
            AckOutcome::Rejected(error) => AckForm { error: Some(error.clone()), ..blank },
            AckOutcome::Forgotten => AckForm { forgotten: true, ..blank },
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ack {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AckForm { seq, tx, attrs, was, error, forgotten } = AckForm::deserialize(deserializer)?;
        let was = was.into_iter().map(Replaced::from).collect();
        let outcome = match (tx, error, forgotten) {
            (Some(tx), None, false) => AckOutcome::Accepted(Accepted { tx, attrs, was }),
            (None, Some(error), false) => AckOutcome::Rejected(error),
            (None, None, true) => AckOutcome::Forgotten,
            _ => return Err(D::Error::custom("expected one of `tx`, `error` and `forgotten`")),
        };
        Ok(Self { seq, outcome })
    }
}

impl From<Replaced> for WasForm {
    fn from(Replaced { entity, attr, value }: Replaced) -> Self {
        match value {
            Some(value) => Self::Value(entity, attr, value),
            None => Self::Nothing(entity, attr),
        }
    }
}

impl From<WasForm> for Replaced {
    fn from(form: WasForm) -> Self {
        match form {
            WasForm::Value(entity, attr, value) => Self { entity, attr, value: Some(value) },
            WasForm::Nothing(entity, attr) => Self { entity, attr, value: None },
        }
    }
}

/// What a frame says besides its parts.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeader<'a> {
    /// Where the session stood.
    pub from: TxId,
    /// Where it stands with the frame.
    pub to: TxId,
    /// The attribute list as JSON text, if any changed.
    pub attrs: Option<&'a str>,
    /// What became of the session's own transactions.
    pub acks: &'a [Ack],
}

/// A written frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameBytes {
    /// JSON.
    Text(String),
    /// The binary form.
    Binary(Vec<u8>),
}

/// Writes a frame from parts that were encoded before, in the same encoding.
pub fn write_frame(
    encoding: Encoding,
    header: &FrameHeader<'_>,
    parts: &[(SubId, &Fragment)],
) -> FrameBytes {
    match encoding {
        Encoding::Json => FrameBytes::Text(write_text(header, parts)),
        Encoding::Binary(_) => FrameBytes::Binary(write_binary(header, parts)),
    }
}

fn write_text(header: &FrameHeader<'_>, parts: &[(SubId, &Fragment)]) -> String {
    use std::fmt::Write;
    let attrs = header.attrs.map_or(0, str::len);
    let parts_len: usize = parts.iter().map(|(_, part)| part.len() + 24).sum();
    let mut out = String::with_capacity(64 + attrs + 64 * header.acks.len() + parts_len);
    // Writing to a string does not fail.
    let _ = write!(out, r#"{{"op":"sync","from":{},"to":{}"#, header.from, header.to);
    if let Some(attrs) = header.attrs {
        let _ = write!(out, r#","attrs":{attrs}"#);
    }
    if !header.acks.is_empty() {
        let acks = serde_json::to_string(header.acks);
        debug_assert!(acks.is_ok(), "acks are JSON");
        let _ = write!(out, r#","acks":{}"#, acks.unwrap_or_else(|_| "[]".into()));
    }
    for (at, (sub, fragment)) in parts.iter().enumerate() {
        out.push_str(if at == 0 { r#","parts":["# } else { "," });
        let body = std::str::from_utf8(&fragment.bytes);
        debug_assert!(body.is_ok(), "the fragment was encoded as JSON");
        let _ = write!(out, r#"{{"sub":{},{}}}"#, sub.0, body.unwrap_or_default());
    }
    if !parts.is_empty() {
        out.push(']');
    }
    out.push('}');
    out
}

/// The first byte of every binary frame: the kind of message and its version.
const SYNC_1: u8 = 0x51;

const ACCEPTED: u8 = 0;
const REJECTED: u8 = 1;
const FORGOTTEN: u8 = 2;

fn write_binary(header: &FrameHeader<'_>, parts: &[(SubId, &Fragment)]) -> Vec<u8> {
    let parts_len: usize = parts.iter().map(|(_, part)| part.len() + 8).sum();
    let mut out = Vec::with_capacity(
        32 + header.attrs.map_or(0, str::len) + 16 * header.acks.len() + parts_len,
    );
    out.byte(SYNC_1);
    out.varint(header.from.0);
    out.varint(header.to.0.wrapping_sub(header.from.0));
    out.sized(header.attrs.unwrap_or_default().as_bytes());
    out.varint(header.acks.len() as u64);
    header.acks.iter().for_each(|ack| write_ack(ack, header.to, &mut out));
    for (sub, fragment) in parts {
        out.varint(u64::from(sub.0));
        out.sized(&fragment.bytes);
    }
    out
}

fn write_ack(ack: &Ack, to: TxId, out: &mut Vec<u8>) {
    out.varint(ack.seq);
    match &ack.outcome {
        AckOutcome::Accepted(Accepted { tx, attrs, was }) => {
            out.byte(ACCEPTED);
            out.signed(to.0.wrapping_sub(tx.0) as i64);
            out.varint(attrs.len() as u64);
            for (proposed, actual) in attrs {
                out.raw(proposed.uuid().as_bytes());
                out.raw(actual.uuid().as_bytes());
            }
            out.varint(was.len() as u64);
            for Replaced { entity, attr, value } in was {
                out.raw(entity.uuid().as_bytes());
                out.raw(attr.uuid().as_bytes());
                out.byte(u8::from(value.is_some()));
                if let Some(value) = value {
                    write_value(value, out);
                }
            }
        }
        AckOutcome::Rejected(error) => {
            out.byte(REJECTED);
            let text = serde_json::to_vec(error);
            debug_assert!(text.is_ok(), "errors are JSON");
            out.sized(&text.unwrap_or_else(|_| b"{}".to_vec()));
        }
        AckOutcome::Forgotten => out.byte(FORGOTTEN),
    }
}

impl SyncFrame {
    /// Reads a binary frame.
    ///
    /// # Errors
    /// [`BinaryError`]; nothing of the frame may be used then.
    pub fn decode_binary(bytes: &[u8]) -> Result<Self, BinaryError> {
        let mut take = Take(bytes);
        if take.byte("its head")? != SYNC_1 {
            return Err(BinaryError::Malformed("a message of an unknown kind"));
        }
        let from = TxId(take.varint("a position")?);
        let to = TxId(from.0.wrapping_add(take.varint("a position")?));
        let attrs = match take.text("the attributes")? {
            "" => None,
            text => Some(
                serde_json::from_str(text)
                    .map_err(|_| BinaryError::Malformed("attributes that are none"))?,
            ),
        };
        let count = take.count(2, "the acknowledgements")?;
        let acks = (0..count).map(|_| read_ack(&mut take, to)).collect::<Result<_, _>>()?;
        let mut parts = Vec::new();
        while !take.is_empty() {
            let sub = u32::try_from(take.varint("a part")?)
                .map_err(|_| BinaryError::Malformed("a subscription's number"))?;
            let body = PartBody::from_binary(take.sized("a part")?)?;
            parts.push(Part { sub: SubId(sub), body });
        }
        Ok(Self { from, to, attrs, acks, parts })
    }
}

fn read_ack(take: &mut Take<'_>, to: TxId) -> Result<Ack, BinaryError> {
    let seq = take.varint("an acknowledgement")?;
    let outcome = match take.byte("an acknowledgement")? {
        ACCEPTED => {
            let tx = TxId(to.0.wrapping_sub(take.signed("a position")? as u64));
            let mut attrs = Vec::new();
            for _ in 0..take.count(32, "the attributes")? {
                attrs.push((AttrId(read_id(take)?), AttrId(read_id(take)?)));
            }
            let mut was = Vec::new();
            for _ in 0..take.count(33, "the values")? {
                let (entity, attr) = (EntityId(read_id(take)?), AttrId(read_id(take)?));
                let value = match take.byte("a value")? {
                    0 => None,
                    _ => Some(read_value(take)?),
                };
                was.push(Replaced { entity, attr, value });
            }
            AckOutcome::Accepted(Accepted { tx, attrs, was })
        }
        REJECTED => {
            let error = serde_json::from_str(take.text("an error")?);
            AckOutcome::Rejected(
                error.map_err(|_| BinaryError::Malformed("an error that is none"))?,
            )
        }
        FORGOTTEN => AckOutcome::Forgotten,
        _ => return Err(BinaryError::Malformed("an acknowledgement of an unknown kind")),
    };
    Ok(Ack { seq, outcome })
}

fn read_id(take: &mut Take<'_>) -> Result<Uuid, BinaryError> {
    take.array("an id").map(Uuid::from_bytes)
}

#[cfg(test)]
mod tests;
