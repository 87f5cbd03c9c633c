-- The index of one share: two trees in one table, the contents, and what hangs on nodes.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE counter (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);

-- The bytes of one version of one file. The row outlives the cache file: a content with no file is in the store only.
CREATE TABLE content (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    size     INTEGER NOT NULL,
    file     TEXT,                          -- name of the cache file that holds it, or a part of it
    whole    INTEGER NOT NULL DEFAULT 0,    -- every byte is in the cache file
    held     INTEGER NOT NULL DEFAULT 0,    -- bytes that count against the limit
    used     REAL NOT NULL,                 -- last use, seconds since the epoch
    flushed  INTEGER NOT NULL DEFAULT 1,    -- the cache file is on stable storage
    checksum INTEGER,                       -- CRC-32 of the bytes, where it was received without a flush
    replaces INTEGER                        -- the content that it took the place of; kept until this one is flushed
);
CREATE INDEX content_used ON content (used) WHERE file IS NOT NULL;
CREATE INDEX content_unflushed ON content (id) WHERE flushed = 0;
CREATE INDEX content_replaces ON content (replaces) WHERE replaces IS NOT NULL;

-- Local side: parent, name, content (parent NULL: not in the local tree, except the root).
-- Synced side: what the store is known to hold of this node, and where (synced_name NULL: nothing).
CREATE TABLE node (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    folder         INTEGER NOT NULL,
    parent         INTEGER,
    name           TEXT,
    content        INTEGER,
    modified       REAL NOT NULL,
    created        REAL NOT NULL,
    media_type     TEXT,
    synced_parent  INTEGER,                 -- node that was the parent when the synced side was written
    synced_folder  TEXT,                    -- store path of the folder that holds the object; '' is the root
    synced_name    TEXT,
    synced_content INTEGER,
    synced_version TEXT,                    -- of a folder: 'marker' where the store holds a marker for it
    replaced       TEXT,                    -- versions that our writes replaced since the last confirmation, one a line
    confirmed      INTEGER NOT NULL DEFAULT 0, -- the store itself has shown the synced version since it was written
    listed         REAL,                    -- folder: when the last complete listing applied here began; 0 or less: is out of date
    scattered      INTEGER NOT NULL DEFAULT 0, -- folder: objects below it may lie at other store paths than the tree says
    due            REAL NOT NULL DEFAULT 0, -- when the engine may carry the node to the store
    attempts       INTEGER NOT NULL DEFAULT 0,
    problem        TEXT,                    -- why the last attempt failed, for people
    parked         INTEGER NOT NULL DEFAULT 0, -- not tried again until something changes
    dirty          INTEGER GENERATED ALWAYS AS (
        CASE WHEN parent IS DISTINCT FROM synced_parent
               OR name IS DISTINCT FROM synced_name
               OR content IS DISTINCT FROM synced_content
               OR (parent IS NULL AND id <> 1)
               OR scattered = 1
             THEN 1 ELSE 0 END) STORED
);
CREATE UNIQUE INDEX node_local ON node (parent, name);
CREATE UNIQUE INDEX node_synced ON node (synced_folder, synced_name);
CREATE INDEX node_content ON node (content) WHERE content IS NOT NULL;
CREATE INDEX node_synced_content ON node (synced_content) WHERE synced_content IS NOT NULL;
CREATE INDEX node_due ON node (parked, due) WHERE dirty = 1;
CREATE INDEX node_unconfirmed ON node (synced_folder) WHERE confirmed = 0 AND synced_content IS NOT NULL;

-- Writes to the store that are under way or in doubt (finished NULL), and lately finished ones, by the path they
-- touch: a listing that began before one of them ended says nothing about that path.
CREATE TABLE operation (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    folder   TEXT NOT NULL,
    name     TEXT NOT NULL,
    kind     TEXT NOT NULL,                 -- write, clear, make, tree_from, tree_to
    tree     INTEGER NOT NULL,              -- concerns everything below the path too
    node     INTEGER NOT NULL,
    content  INTEGER,                       -- what is written at the path, by kind write
    finished INTEGER,                       -- value of the counter 'sequence' at the end
    ended    REAL
);
CREATE INDEX operation_path ON operation (folder, name);
CREATE INDEX operation_node ON operation (node) WHERE finished IS NULL;
CREATE INDEX operation_finished ON operation (finished);
CREATE INDEX operation_open ON operation (folder) WHERE finished IS NULL;

CREATE TABLE lock (
    token     TEXT PRIMARY KEY,
    node      INTEGER NOT NULL,
    exclusive INTEGER NOT NULL,
    infinite  INTEGER NOT NULL,
    owner     BLOB NOT NULL,
    principal TEXT NOT NULL,
    timeout   REAL NOT NULL,
    expires   REAL NOT NULL
);
CREATE INDEX lock_node ON lock (node);

CREATE TABLE property (
    node INTEGER NOT NULL,
    name TEXT NOT NULL,
    xml  BLOB NOT NULL,
    PRIMARY KEY (node, name)
);

INSERT INTO node (id, folder, parent, name, modified, created, synced_folder, synced_name, confirmed)
VALUES (1, 1, NULL, '', 0, 0, NULL, '', 1);
INSERT INTO counter (name, value) VALUES ('sequence', 0), ('cached_bytes', 0), ('sync_requested', 0);
