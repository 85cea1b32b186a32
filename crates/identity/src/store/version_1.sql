-- A store as version 1 wrote it, with a key, a rule of access and two changes.
BEGIN TRANSACTION;
CREATE TABLE access (
  pattern TEXT PRIMARY KEY,
  mode TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "access" VALUES('notes','keys');
CREATE TABLE applied (
  sequence INTEGER NOT NULL,
  ended INTEGER NOT NULL
) STRICT;
INSERT INTO "applied" VALUES(0,0);
CREATE TABLE change (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  what TEXT NOT NULL,
  subject TEXT NOT NULL
) STRICT;
INSERT INTO "change" VALUES(1,1700000000,'key','oldkey');
INSERT INTO "change" VALUES(2,1700000001,'access','');
CREATE TABLE key (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('caller', 'worker')),
  name TEXT NOT NULL,
  rights TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER,
  last_used_at INTEGER
) STRICT;
INSERT INTO "key" VALUES('oldkey','caller','laptop','{"caller":{"ids":["notes"]}}',1700000000,NULL,NULL,NULL);
CREATE TABLE key_secret (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  key_id TEXT NOT NULL REFERENCES key (id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO "key_secret" VALUES(X'ADBFFB221D918F86E7A0E11320229AE18058541ADF816D006C2E177095148CE6','oldkey',1700000000,NULL);
CREATE UNIQUE INDEX key_by_name ON key (kind, name) WHERE revoked_at IS NULL;
CREATE INDEX key_secret_by_key ON key_secret (key_id);
COMMIT;
PRAGMA user_version = 1;
