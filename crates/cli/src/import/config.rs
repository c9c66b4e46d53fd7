//! `config.json` of a backup.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tricedb_core::schema::{self, Schema};

use super::ImportError;

/// What `config.json` says.
#[derive(Debug)]
pub(super) struct Config {
    /// Entities a namespace.
    pub(super) counts: BTreeMap<String, u64>,
    /// Triples in all: every value of every entity, explicit nulls and ids among them, and every link once.
    pub(super) triple_count: u64,
    pub(super) schema: Schema,
    pub(super) has_rules: bool,
    pub(super) title: String,
    pub(super) webhooks: usize,
    pub(super) email_templates: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    counts: BTreeMap<String, u64>,
    triple_count: u64,
    #[serde(default)]
    schema: Option<Json>,
    #[serde(default)]
    rules: Option<Json>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    webhooks: Option<Vec<Json>>,
    #[serde(default)]
    email_templates: Option<Vec<Json>>,
}

impl Config {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImportError> {
        let raw: Raw = serde_json::from_slice(bytes)
            .map_err(|error| ImportError::Config(error.to_string()))?;
        let schema = match &raw.schema {
            Some(json) => schema::parse(json)?,
            None => Schema::default(),
        };
        Ok(Self {
            counts: raw.counts,
            triple_count: raw.triple_count,
            schema,
            has_rules: raw.rules.is_some(),
            title: raw.title.unwrap_or_else(|| "imported".to_owned()),
            webhooks: raw.webhooks.map_or(0, |list| list.len()),
            email_templates: raw.email_templates.map_or(0, |list| list.len()),
        })
    }
}
