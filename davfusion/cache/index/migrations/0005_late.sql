-- A write of which the store showed nothing when it was asked may take effect yet: its request is on its way, or the
-- store is at it still. For a while it is remembered, so that it is known again when it comes.
ALTER TABLE operation ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
CREATE INDEX operation_late ON operation (folder, name) WHERE late = 1;
CREATE INDEX operation_content ON operation (content) WHERE content IS NOT NULL;
