-- All confirmed facts of an entity in a namespace are one row: it is what changes together.
CREATE TABLE entities (
    entity  BLOB NOT NULL,
    etype   TEXT NOT NULL,
    triples BLOB NOT NULL,
    PRIMARY KEY (entity, etype)
) STRICT, WITHOUT ROWID;

CREATE TABLE attrs (
    place INTEGER PRIMARY KEY,
    attr  TEXT NOT NULL
) STRICT;

CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY,
    event      TEXT NOT NULL,
    operations TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    state      TEXT NOT NULL
) STRICT;

CREATE TABLE subscriptions (
    query    TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL,
    used_at  INTEGER NOT NULL,
    held     BLOB NOT NULL,
    extra    TEXT
) STRICT;

CREATE TABLE key_values (
    key   TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
