-- A deletion that was begun: after a crash it tells a deleted restore point from a lost one.
ALTER TABLE restore_point ADD COLUMN IF NOT EXISTS deleting_since DATETIME(3) NULL;
-- Why somebody holds it, whatever the policy says.
ALTER TABLE restore_point ADD COLUMN IF NOT EXISTS hold VARCHAR(255) NULL;
