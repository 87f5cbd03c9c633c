-- The chunked layout: which objects of the store hold which parts of which contents, and what the journal says of them.

-- An object that we wrote, or are writing. States: writing (may be in the store), held (is there), leaving (no content
-- lies in it; it goes when its grace period is over), deleting.
CREATE TABLE object (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    path       TEXT NOT NULL UNIQUE,            -- store path
    size       INTEGER NOT NULL DEFAULT 0,      -- bytes
    payload    INTEGER NOT NULL DEFAULT 0,      -- bytes that contents took in it when it was written
    sha256     TEXT,
    state      TEXT NOT NULL,
    since      REAL NOT NULL,                   -- when it came into this state, seconds since the epoch
    journalled INTEGER NOT NULL DEFAULT 0       -- the journal names it
);
CREATE INDEX object_state ON object (state, since);
CREATE INDEX object_unjournalled ON object (id) WHERE journalled = 0;

-- A content whose bytes are in objects of the store.
CREATE TABLE stored (
    content    INTEGER PRIMARY KEY,
    sha256     TEXT,
    journalled INTEGER NOT NULL DEFAULT 0       -- the journal says where its parts are now
);
CREATE INDEX stored_unjournalled ON stored (content) WHERE journalled = 0;

CREATE TABLE part (
    content INTEGER NOT NULL,
    number  INTEGER NOT NULL,                   -- from 0; the bytes of a content are its parts in this order
    object  INTEGER NOT NULL,
    start   INTEGER NOT NULL,                   -- first byte in the object
    length  INTEGER NOT NULL,                   -- bytes in the object
    size    INTEGER NOT NULL,                   -- bytes of the content
    method  TEXT NOT NULL,                      -- stored or deflate
    crc32   INTEGER NOT NULL,                   -- of the bytes of the content
    PRIMARY KEY (content, number)
);
CREATE INDEX part_object ON part (object, start);

-- The time of the file's change that the store holds, where the local one is newer.
ALTER TABLE node ADD COLUMN synced_modified REAL;
