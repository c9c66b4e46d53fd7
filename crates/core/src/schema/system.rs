//! The attributes that every app has: the system namespaces.

use std::sync::Arc;

use uuid::Uuid;

use crate::attr::{Attr, Cardinality, Catalog, CheckedType, Identity, OnDelete};
use crate::id::{AttrId, IdentId};

/// The system namespaces that programs see.
const VISIBLE: [&str; 3] = ["$users", "$files", "$streams"];

/// Whether programs may add attributes and links to this `$` namespace; others are reserved.
pub fn is_system_etype(etype: &str) -> bool {
    VISIBLE.contains(&etype)
}

/// The attributes of `$users`, `$files` and `$streams`: the same in every app, with the ids that InstantDB
/// gives them. An app holds them from its first moment.
pub fn system_attrs() -> Vec<Arc<Attr>> {
    let mut attrs = Vec::new();
    for definition in USERS.iter().chain(FILES).chain(STREAMS) {
        attrs.push(Arc::new(definition.attr()));
    }
    let mut primary = link(("$users", "linkedPrimaryUser"), ("$users", "linkedGuestUsers"));
    primary.cardinality = Cardinality::One;
    primary.on_delete = Some(OnDelete::Cascade);
    let mut file = link(("$streams", "$files"), ("$files", "$stream"));
    file.cardinality = Cardinality::Many;
    file.unique = true;
    file.on_delete_reverse = Some(OnDelete::Cascade);
    attrs.extend([Arc::new(primary), Arc::new(file)]);
    attrs
}

/// Attributes of namespaces that only the server itself reads and writes: `$userRefreshTokens`.
pub fn hidden_system_attrs() -> Vec<Arc<Attr>> {
    let mut user = link(("$userRefreshTokens", "$user"), ("$users", "$userRefreshTokens"));
    user.cardinality = Cardinality::One;
    user.indexed = true;
    user.on_delete = Some(OnDelete::Cascade);
    let mut attrs: Vec<_> =
        REFRESH_TOKENS.iter().map(|definition| Arc::new(definition.attr())).collect();
    attrs.push(Arc::new(user));
    attrs
}

struct Definition {
    etype: &'static str,
    label: &'static str,
    unique: bool,
    indexed: bool,
    required: bool,
    checked: Option<CheckedType>,
}

/// One letter a flag: `u` unique, `i` indexed, `r` required.
const fn define(
    etype: &'static str,
    label: &'static str,
    flags: &str,
    checked: Option<CheckedType>,
) -> Definition {
    let (mut unique, mut indexed, mut required) = (false, false, false);
    let flags = flags.as_bytes();
    let mut at = 0;
    while at < flags.len() {
        match flags[at] {
            b'u' => unique = true,
            b'i' => indexed = true,
            _ => required = true,
        }
        at += 1;
    }
    Definition { etype, label, unique, indexed, required, checked }
}

const STRING: Option<CheckedType> = Some(CheckedType::String);
const NUMBER: Option<CheckedType> = Some(CheckedType::Number);
const BOOLEAN: Option<CheckedType> = Some(CheckedType::Boolean);

const USERS: &[Definition] = &[
    define("$users", "id", "ui", None),
    define("$users", "email", "ui", STRING),
    define("$users", "type", "", STRING),
    define("$users", "imageURL", "", STRING),
];

const FILES: &[Definition] = &[
    define("$files", "id", "ui", None),
    define("$files", "path", "uir", STRING),
    define("$files", "size", "ir", NUMBER),
    define("$files", "content-type", "i", STRING),
    define("$files", "content-disposition", "i", STRING),
    define("$files", "location-id", "uir", STRING),
    define("$files", "key-version", "", NUMBER),
    define("$files", "url", "", STRING),
];

const STREAMS: &[Definition] = &[
    define("$streams", "id", "ui", None),
    define("$streams", "clientId", "uir", STRING),
    define("$streams", "machineId", "", STRING),
    define("$streams", "done", "", BOOLEAN),
    define("$streams", "size", "", NUMBER),
    define("$streams", "hashedReconnectToken", "", STRING),
    define("$streams", "abortReason", "", STRING),
];

const REFRESH_TOKENS: &[Definition] = &[
    define("$userRefreshTokens", "id", "ui", None),
    define("$userRefreshTokens", "hashedToken", "ui", STRING),
];

impl Definition {
    fn attr(&self) -> Attr {
        let mut attr = Attr::blob(
            attr_id(self.etype, self.label),
            ident(self.etype, self.label).id,
            self.etype,
            self.label,
        );
        attr.unique = self.unique;
        attr.indexed = self.indexed;
        attr.required = self.required;
        attr.checked_data_type = self.checked;
        attr.catalog = Catalog::System;
        attr
    }
}

fn link(forward: (&str, &str), reverse: (&str, &str)) -> Attr {
    let id = attr_id(forward.0, forward.1);
    let mut attr = Attr::link(id, ident(forward.0, forward.1), ident(reverse.0, reverse.1));
    attr.catalog = Catalog::System;
    attr
}

fn attr_id(etype: &str, label: &str) -> AttrId {
    AttrId::new(system_uuid("systemat", etype, label))
}

fn ident(etype: &str, label: &str) -> Identity {
    let id = IdentId::new(system_uuid("systemid", etype, label));
    Identity { id, etype: etype.into(), label: label.into() }
}

/// The id of a system attribute or of its name: sixteen hex digits say which, the other sixteen spell a
/// short form of `namespace/label`, five bits a letter.
fn system_uuid(kind: &str, etype: &str, label: &str) -> Uuid {
    let name = format!("{}/{}", short_etype(etype), short_label(label));
    Uuid::from_u64_pair(spell(kind), spell(&name))
}

/// Five bits a letter from the left, ones after the last. Twelve letters at most.
fn spell(text: &str) -> u64 {
    // Not alphabetical at the end; the ids of existing apps are so.
    const LETTERS: &[u8; 27] = b"abcdefghijklmnopqrstuvwxzy/";
    let mut bits = u64::MAX;
    for (place, letter) in text.bytes().take(12).enumerate() {
        let number = LETTERS.iter().position(|known| *known == letter).unwrap_or(31) as u64;
        let shift = 59 - 5 * place;
        bits = bits & !(0b11111 << shift) | number << shift;
    }
    bits
}

fn short_etype(etype: &str) -> &str {
    match etype {
        "$users" => "us",
        "$files" => "fi",
        "$streams" => "st",
        "$userRefreshTokens" => "ur",
        other => other,
    }
}

fn short_label(label: &str) -> &str {
    match label {
        "imageURL" => "imageurl",
        "linkedPrimaryUser" => "lpu",
        "linkedGuestUsers" => "lgu",
        "content-type" => "ctype",
        "content-disposition" => "cdisp",
        "location-id" => "lid",
        "key-version" => "kv",
        "clientId" => "clientid",
        "machineId" => "machineid",
        "hashedReconnectToken" => "hashretok",
        "abortReason" => "abrtreasn",
        "hashedToken" => "hashedtok",
        "$user" => "user",
        "$userRefreshTokens" => "ur",
        "$files" => "fi",
        "$stream" => "stream",
        other => other,
    }
}
