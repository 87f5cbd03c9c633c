-- Since when a file waits for the store, so that one that is saved again and again is carried all the same.
ALTER TABLE node ADD COLUMN waiting REAL;       -- first save since the store had a version of it, seconds since the epoch

-- Folders with a marker are few, and looked for often.
CREATE INDEX node_marker ON node (synced_version) WHERE folder = 1 AND synced_version IS NOT NULL;
