-- Small contents lie in the index itself: one flush for the bytes and all that is said about them, and no file.

-- The bytes of a content that has no cache file, whole. Its row in `content` has held > 0.
CREATE TABLE small (
    content INTEGER PRIMARY KEY,
    bytes   BLOB NOT NULL
);

-- Contents of which anything is here, in a file or in this database, by their last use.
DROP INDEX content_used;
CREATE INDEX content_here ON content (used, held) WHERE file IS NOT NULL OR held > 0;
