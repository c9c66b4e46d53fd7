//! A batch as statements.

use std::collections::BTreeMap;
use std::sync::Arc;

use tricedb_core::attr::Attr;
use tricedb_core::port::{
    Batch, OutboxChange, OutboxRow, StorageError, SubscriptionChange, SubscriptionRow,
};

use super::encoding::{write_held, write_triples};
use super::failure::{Action, failed};
use super::statement::{Rows, Statement};

/// The statements that apply `batch` when run in order: a constant number (at most ten) except where a
/// part is larger than a statement may be. A batch with one kind of change is one statement.
pub(super) fn statements(batch: &Batch) -> Result<Vec<Statement>, StorageError> {
    let mut done = Vec::new();
    entities(batch, &mut done);
    if let Some(attrs) = &batch.attrs {
        attributes(attrs, &mut done)?;
    }
    outbox(&batch.outbox, &mut done)?;
    subscriptions(&batch.subscriptions, &mut done)?;
    key_values(&batch.key_values, &mut done);
    Ok(done)
}

fn entities(batch: &Batch, done: &mut Vec<Statement>) {
    let mut removals = Rows::new(
        "DELETE FROM entities WHERE (entity, etype) IN (
             SELECT substr(?2, value->>0, value->>1), CAST(substr(?2, value->>2, value->>3) AS TEXT)
             FROM json_each(?1))",
        done,
    );
    for (entity, etype) in &batch.remove_entities {
        removals.row(|cells| {
            cells.bytes(entity.uuid().as_bytes());
            cells.bytes(etype.as_bytes());
        });
    }
    removals.finish();

    let mut puts = Rows::new(
        "INSERT INTO entities (entity, etype, triples)
         SELECT substr(?2, value->>0, value->>1), CAST(substr(?2, value->>2, value->>3) AS TEXT),
                substr(?2, value->>4, value->>5)
         FROM json_each(?1) WHERE true
         ON CONFLICT (entity, etype) DO UPDATE SET triples = excluded.triples",
        done,
    );
    for row in &batch.put_entities {
        puts.row(|cells| {
            cells.bytes(row.entity.uuid().as_bytes());
            cells.bytes(row.etype.as_bytes());
            cells.written(|arena| write_triples(arena, &row.triples));
        });
    }
    puts.finish();
}

fn attributes(attrs: &[Arc<Attr>], done: &mut Vec<Statement>) -> Result<(), StorageError> {
    let mut surplus = Rows::new(
        "DELETE FROM attrs WHERE place >= (SELECT value->>0 FROM json_each(?1)) AND ?2 IS NOT NULL",
        done,
    );
    surplus.row(|cells| cells.int(attrs.len() as i64));
    surplus.finish();

    // Most of a new list equals the old one: rows that stay are not written.
    let mut puts = Rows::new(
        "INSERT INTO attrs (place, attr)
         SELECT value->>0, CAST(substr(?2, value->>1, value->>2) AS TEXT)
         FROM json_each(?1) WHERE true
         ON CONFLICT (place) DO UPDATE SET attr = excluded.attr WHERE attr <> excluded.attr",
        done,
    );
    for (place, attr) in attrs.iter().enumerate() {
        let json = serde_json::to_vec(&**attr).map_err(|error| failed(Action::Write, error))?;
        puts.row(|cells| {
            cells.int(place as i64);
            cells.bytes(&json);
        });
    }
    puts.finish();
    Ok(())
}

fn outbox(changes: &[OutboxChange], done: &mut Vec<Statement>) -> Result<(), StorageError> {
    let mut last: BTreeMap<u64, Option<&OutboxRow>> = BTreeMap::new();
    for change in changes {
        match change {
            OutboxChange::Put(row) => last.insert(row.seq, Some(row)),
            OutboxChange::Remove(seq) => last.insert(*seq, None),
        };
    }
    let mut removals = Rows::new(
        "DELETE FROM outbox WHERE seq IN (SELECT value->>0 FROM json_each(?1)) AND ?2 IS NOT NULL",
        done,
    );
    for seq in last.iter().filter(|(_, row)| row.is_none()).map(|(seq, _)| seq) {
        let seq = signed(*seq)?;
        removals.row(|cells| cells.int(seq));
    }
    removals.finish();

    let mut puts = Rows::new(
        "INSERT OR REPLACE INTO outbox (seq, event, operations, created_at, attempts, state)
         SELECT value->>0, CAST(substr(?2, value->>1, value->>2) AS TEXT),
                CAST(substr(?2, value->>3, value->>4) AS TEXT), value->>5, value->>6,
                CAST(substr(?2, value->>7, value->>8) AS TEXT)
         FROM json_each(?1)",
        done,
    );
    for row in last.into_values().flatten() {
        let seq = signed(row.seq)?;
        let write_error = |error| failed(Action::Write, error);
        let operations = serde_json::to_vec(&row.operations).map_err(write_error)?;
        let state = serde_json::to_vec(&row.state).map_err(write_error)?;
        puts.row(|cells| {
            cells.int(seq);
            cells.bytes(row.event.as_str().as_bytes());
            cells.bytes(&operations);
            cells.int(row.created_at);
            cells.int(row.attempts.into());
            cells.bytes(&state);
        });
    }
    puts.finish();
    Ok(())
}

fn subscriptions(
    changes: &[SubscriptionChange],
    done: &mut Vec<Statement>,
) -> Result<(), StorageError> {
    let mut last: BTreeMap<&str, Option<&SubscriptionRow>> = BTreeMap::new();
    for change in changes {
        match change {
            SubscriptionChange::Put(row) => last.insert(&row.query, Some(row)),
            SubscriptionChange::Remove(query) => last.insert(query, None),
        };
    }
    let mut removals = Rows::new(
        "DELETE FROM subscriptions WHERE query IN (
             SELECT CAST(substr(?2, value->>0, value->>1) AS TEXT) FROM json_each(?1))",
        done,
    );
    for query in last.iter().filter(|(_, row)| row.is_none()).map(|(query, _)| query) {
        removals.row(|cells| cells.bytes(query.as_bytes()));
    }
    removals.finish();

    let mut puts = Rows::new(
        "INSERT OR REPLACE INTO subscriptions (query, position, used_at, held, extra)
         SELECT CAST(substr(?2, value->>0, value->>1) AS TEXT), value->>2, value->>3,
                substr(?2, value->>4, value->>5), CAST(substr(?2, value->>6, value->>7) AS TEXT)
         FROM json_each(?1)",
        done,
    );
    for row in last.into_values().flatten() {
        let position = signed(row.position.0)?;
        puts.row(|cells| {
            cells.bytes(row.query.as_bytes());
            cells.int(position);
            cells.int(row.used_at);
            cells.written(|arena| write_held(arena, &row.held));
            cells.optional(row.extra.as_deref());
        });
    }
    puts.finish();
    Ok(())
}

fn key_values(changes: &[(String, Option<Vec<u8>>)], done: &mut Vec<Statement>) {
    let last: BTreeMap<&str, Option<&[u8]>> =
        changes.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    let mut removals = Rows::new(
        "DELETE FROM key_values WHERE key IN (
             SELECT CAST(substr(?2, value->>0, value->>1) AS TEXT) FROM json_each(?1))",
        done,
    );
    for key in last.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key) {
        removals.row(|cells| cells.bytes(key.as_bytes()));
    }
    removals.finish();

    let mut puts = Rows::new(
        "INSERT OR REPLACE INTO key_values (key, value)
         SELECT CAST(substr(?2, value->>0, value->>1) AS TEXT), substr(?2, value->>2, value->>3)
         FROM json_each(?1)",
        done,
    );
    for (key, value) in last {
        if let Some(value) = value {
            puts.row(|cells| {
                cells.bytes(key.as_bytes());
                cells.bytes(value);
            });
        }
    }
    puts.finish();
}

/// SQLite's integers are signed.
fn signed(number: u64) -> Result<i64, StorageError> {
    i64::try_from(number).map_err(|error| failed(Action::Write, error))
}
