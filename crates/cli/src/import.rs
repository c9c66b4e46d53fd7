//! Reading the backup of an Instant Cloud app into a triple index.
//!
//! A backup is a zip: `config.json` (counts, schema, rules), `entities/<namespace>.jsonl` (an entity a
//! line, with the links that it holds) and `files/<location-id>` (stored files). [`read_backup`] checks
//! all of it against the schema and the counts before anything is made from it; a backup that does not
//! agree with itself is refused whole.

mod archive;
mod config;
mod entity;
mod error;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::Arc;

use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, IdSource, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::schema;
use tricedb_core::tx::TxStep;

use archive::Archive;
use config::Config;
use entity::Loader;

pub(crate) use archive::Limits;
pub(crate) use error::ImportError;

/// What the person who imports has decided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    /// What to do about permission rules.
    pub(crate) rules: Rules,
    /// What to do about stored files.
    pub(crate) files: Files,
}

/// What to do about permission rules, which cannot be enforced yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rules {
    /// Those of the backup are wanted.
    FromBackup,
    /// The app is to be open to everyone who knows its id.
    None,
}

/// What to do about stored files, which cannot be kept yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Files {
    /// They are wanted.
    Keep,
    /// They are left in the backup.
    Skip,
}

/// A backup, read and found consistent.
#[derive(Debug)]
pub(crate) struct Backup {
    /// The title of the app.
    pub(crate) title: String,
    /// Attributes (those of the system included) and facts.
    pub(crate) index: TripleIndex,
    /// What each namespace holds, by name.
    pub(crate) namespaces: BTreeMap<String, NamespaceCount>,
    /// Things worth knowing that did not stop the import.
    pub(crate) notes: Vec<String>,
}

/// What a namespace holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamespaceCount {
    /// Entities.
    pub(crate) entities: usize,
    /// Triples of its attributes and of links whose forward side it is.
    pub(crate) triples: usize,
}

/// How far the reading is, in bytes of unpacked entities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Read so far.
    pub(crate) done: u64,
    /// As the archive declares it.
    pub(crate) total: u64,
}

/// Reads and checks a whole backup.
///
/// # Errors
/// Anything that keeps the backup from being imported exactly, with file and line where there is one.
pub(crate) fn read_backup(
    source: impl Read + Seek,
    limits: Limits,
    choices: Choices,
    ids: &mut dyn IdSource,
    progress: &mut dyn FnMut(Progress),
) -> Result<Backup, ImportError> {
    let mut archive = Archive::open(source, limits)?;
    let config = Config::parse(&archive.config()?)?;
    let mut notes = Vec::new();
    check_rules(&config, choices.rules, &mut notes)?;
    check_files(archive.file_count(), choices.files, &mut notes)?;
    for (what, count) in
        [("webhooks", config.webhooks), ("email templates", config.email_templates)]
    {
        if count > 0 {
            notes.push(format!("{count} {what} are not imported"));
        }
    }
    let mut loader = Loader::new(attributes(&config, ids)?, ids);
    let total = archive.entity_bytes();
    let mut done = 0;
    for file in archive.entity_files(&config.counts)? {
        loader.namespace(&file.etype);
        let mut reader = archive.lines(&file)?;
        while let Some(line) = reader.next_line()? {
            loader
                .line(&file.etype, line.bytes)
                .map_err(|problem| ImportError::line(&file.name, line.number, problem))?;
            progress(Progress { done: done + line.end, total });
        }
        done += file.bytes;
    }
    let (index, loaded_notes) = loader.finish();
    notes.extend(loaded_notes);
    let namespaces = count(&index, &config);
    check_counts(&config, &namespaces, index.triple_count())?;
    Ok(Backup { title: config.title, index, namespaces, notes })
}

/// The system's attributes, those of the schema, and an `id` for each namespace that has entities.
fn attributes(config: &Config, ids: &mut dyn IdSource) -> Result<TripleIndex, ImportError> {
    let mut index = TripleIndex::new();
    for attr in schema::system_attrs() {
        index.put_attr(attr);
    }
    for step in config.schema.to_attr_steps(index.catalog(), ids)? {
        if let TxStep::AddAttr(attr) = step {
            index.put_attr(attr);
        }
    }
    for etype in config.counts.keys() {
        if index.catalog().id_attr(etype).is_none() {
            let (attr, ident) = (AttrId::new(ids.next_uuid()), IdentId::new(ids.next_uuid()));
            index.put_attr(Arc::new(Attr::blob(attr, ident, etype, "id")));
        }
    }
    Ok(index)
}

fn check_rules(config: &Config, wanted: Rules, notes: &mut Vec<String>) -> Result<(), ImportError> {
    match (config.has_rules, wanted) {
        (true, Rules::FromBackup) => Err(ImportError::RulesUnsupported),
        (false, Rules::FromBackup) => Err(ImportError::RulesMissing),
        (true, Rules::None) => {
            notes.push("the rules of the backup are left out: the app is open to everyone".into());
            Ok(())
        }
        (false, Rules::None) => Ok(()),
    }
}

fn check_files(count: usize, wanted: Files, notes: &mut Vec<String>) -> Result<(), ImportError> {
    match (count, wanted) {
        (0, _) => Ok(()),
        (count, Files::Keep) => Err(ImportError::FilesUnsupported { count }),
        (count, Files::Skip) => {
            notes.push(format!("{count} stored files are left in the backup; keep it"));
            Ok(())
        }
    }
}

fn count(index: &TripleIndex, config: &Config) -> BTreeMap<String, NamespaceCount> {
    let mut namespaces: BTreeMap<String, NamespaceCount> =
        config.counts.keys().map(|etype| (etype.clone(), NamespaceCount::default())).collect();
    for triple in index.triples() {
        let Some(attr) = index.catalog().get(triple.attr) else { continue };
        let count = namespaces.entry(attr.etype().to_owned()).or_default();
        count.triples += 1;
        count.entities += usize::from(attr.is_id());
    }
    namespaces
}

fn check_counts(
    config: &Config,
    found: &BTreeMap<String, NamespaceCount>,
    triples: usize,
) -> Result<(), ImportError> {
    for (etype, wanted) in &config.counts {
        let found = found.get(etype).map_or(0, |count| count.entities);
        if found as u64 != *wanted {
            return Err(ImportError::EntityCount { etype: etype.clone(), wanted: *wanted, found });
        }
    }
    if triples as u64 != config.triple_count {
        return Err(ImportError::TripleCount { wanted: config.triple_count, found: triples });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
