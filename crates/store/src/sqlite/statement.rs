//! Statements that take any number of rows.
//!
//! Through sqlx a statement costs two thread wake-ups, far more than the row it writes. So every
//! statement here has a constant text and takes its rows as two parameters: `?2` is a blob in which all
//! bytes stand one after another, `?1` a JSON array with a row of numbers for each row: integers as they
//! are, bytes and texts as start and length within the blob.

use std::fmt::Write;

/// A statement with its rows.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: &'static str,
    /// `?1`: rows of numbers.
    pub(super) index: String,
    /// `?2`: what the numbers point into.
    pub(super) arena: Vec<u8>,
}

/// Collects rows for one SQL text, in as many statements as their size needs.
pub(super) struct Rows<'a> {
    sql: &'static str,
    done: &'a mut Vec<Statement>,
    index: String,
    arena: Vec<u8>,
}

/// Bytes of rows after which a statement is complete: bounds memory, and is enough to make the cost per
/// statement vanish.
const STATEMENT_LEN_MAX: usize = 4 << 20;

impl<'a> Rows<'a> {
    pub(super) fn new(sql: &'static str, done: &'a mut Vec<Statement>) -> Self {
        // The first byte is never used: SQLite takes an empty blob for NULL.
        Self { sql, done, index: String::new(), arena: vec![0] }
    }

    /// Adds a row, whose cells `fill` writes in the order of the statement's columns.
    pub(super) fn row(&mut self, fill: impl FnOnce(&mut Cells<'_>)) {
        self.index.push(if self.index.is_empty() { '[' } else { ',' });
        let mut cells = Cells { index: &mut self.index, arena: &mut self.arena, first: true };
        fill(&mut cells);
        self.index.push(']');
        if self.arena.len() + self.index.len() >= STATEMENT_LEN_MAX {
            self.complete();
        }
    }

    pub(super) fn finish(mut self) {
        self.complete();
    }

    fn complete(&mut self) {
        if self.index.is_empty() {
            return;
        }
        let mut index = std::mem::take(&mut self.index);
        index.push(']');
        let arena = std::mem::replace(&mut self.arena, vec![0]);
        self.done.push(Statement { sql: self.sql, index, arena });
    }
}

/// The cells of one row.
pub(super) struct Cells<'a> {
    index: &'a mut String,
    arena: &'a mut Vec<u8>,
    first: bool,
}

impl Cells<'_> {
    pub(super) fn int(&mut self, number: i64) {
        self.number(&number);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.written(|arena| arena.extend_from_slice(bytes));
    }

    /// Bytes that `write` appends to the arena itself.
    pub(super) fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(self.arena);
        // SQL counts from one.
        self.number(&(start + 1));
        self.number(&(self.arena.len() - start));
    }

    pub(super) fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => {
                self.number(&"null");
                self.number(&"null");
            }
        }
    }

    fn number(&mut self, number: &dyn std::fmt::Display) {
        let before = if std::mem::take(&mut self.first) { '[' } else { ',' };
        // Writing to a string cannot fail.
        let _ = write!(self.index, "{before}{number}");
    }
}
