//! Why a backup was refused.

use tricedb_core::schema::SchemaError;

/// Why a backup was refused. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImportError {
    /// The file is no zip, or its table of contents is damaged or cut off.
    #[error("this is no zip file, or it is damaged or truncated")]
    NotZip(#[source] zip::result::ZipError),
    /// It is a zip of something else.
    #[error("this is no Instant backup: the zip has no `config.json`")]
    NoConfig,
    /// A file in the zip could not be unpacked.
    #[error("`{file}` in the backup is damaged or truncated")]
    Damaged {
        /// Its name.
        file: String,
        /// What the zip reader said.
        source: std::io::Error,
    },
    /// A file in the zip could not be opened.
    #[error("`{file}` in the backup cannot be read")]
    Unreadable {
        /// Its name.
        file: String,
        /// What the zip reader said.
        source: zip::result::ZipError,
    },
    /// The backup unpacks to more than is allowed.
    #[error("`{file}` in the backup unpacks to more than {what}; this looks like a zip bomb")]
    TooLarge {
        /// Its name.
        file: String,
        /// The limit.
        what: String,
    },
    /// `config.json` is not as it should be.
    #[error("`config.json` in the backup: {0}")]
    Config(String),
    /// The schema in `config.json` is not as it should be.
    #[error("`config.json` in the backup: {0}")]
    Schema(#[from] SchemaError),
    /// A line of an entity file is not as it should be.
    #[error("`{file}`, line {line}: {problem}")]
    Line {
        /// The file in the zip.
        file: String,
        /// Counted from one.
        line: u64,
        /// What is wrong.
        problem: LineProblem,
    },
    /// The counts promise entities for which there is no file, or a file has no count.
    #[error("the backup is incomplete: {0}")]
    Incomplete(String),
    /// A namespace has more or fewer entities than the backup says.
    #[error("the backup is incomplete: `{etype}` should have {wanted} entities but has {found}")]
    EntityCount {
        /// The namespace.
        etype: String,
        /// As `config.json` says.
        wanted: u64,
        /// As the entities are.
        found: usize,
    },
    /// The entities make more or fewer triples than the backup says.
    #[error(
        "the backup should have {wanted} triples (`tripleCount` in `config.json`) but has {found}"
    )]
    TripleCount {
        /// As `config.json` says.
        wanted: u64,
        /// As the entities make.
        found: usize,
    },
    /// The backup has no rules, and nobody said that this is fine.
    #[error(
        "this backup has no permission rules (backups taken before 2026-08-12 never have), and without \
         rules everyone who knows the app's id can read and write everything. If that is what you want, \
         say so with `--no-rules`"
    )]
    RulesMissing,
    /// Rules were offered.
    #[error(
        "permission rules cannot be enforced yet, and data that was closed is not served open: nothing \
         was imported. To import it open to everyone all the same, say so with `--no-rules`"
    )]
    RulesUnsupported,
    /// The backup has stored files.
    #[error(
        "this backup has {count} stored files, which cannot be kept yet. `--skip-files` imports everything \
         else; keep the backup for the files"
    )]
    FilesUnsupported {
        /// How many.
        count: usize,
    },
}

impl ImportError {
    pub(super) fn line(file: &str, line: u64, problem: LineProblem) -> Self {
        Self::Line { file: file.to_owned(), line, problem }
    }
}

/// What is wrong with a line of an entity file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LineProblem {
    /// Longer than is allowed.
    #[error("longer than {0} bytes")]
    TooLong(u64),
    /// No JSON, or not of the form `{"entity": {…}, "createdAt": ms}`.
    #[error("not an entity: {0}")]
    NotAnEntity(#[from] serde_json::Error),
    /// `entity.id` is absent or no UUID.
    #[error("the entity has no `id`, or it is no UUID")]
    NoId,
    /// Two lines have one id.
    #[error("`{0}` comes twice")]
    Twice(String),
    /// A value of another type than the schema enforces.
    #[error("`{etype}.{label}` must be a {wanted} but is a {found}")]
    WrongType {
        /// The namespace.
        etype: String,
        /// The attribute.
        label: String,
        /// The enforced type.
        wanted: &'static str,
        /// The type of the value.
        found: &'static str,
    },
    /// A value of a unique attribute that another entity has.
    #[error("`{etype}.{label}` is unique, but another entity has the value {value} too")]
    NotUnique {
        /// The namespace.
        etype: String,
        /// The attribute.
        label: String,
        /// The value, as JSON.
        value: String,
    },
    /// A link whose value is neither an id nor a list of ids.
    #[error("the link `{etype}.{label}` must be an entity id or a list of them")]
    NotALink {
        /// The namespace.
        etype: String,
        /// The link.
        label: String,
    },
    /// More targets than the schema allows, from one side or the other.
    #[error("the link `{etype}.{label}` leads to at most one entity but is given more")]
    TooManyTargets {
        /// The namespace.
        etype: String,
        /// The link.
        label: String,
    },
}
