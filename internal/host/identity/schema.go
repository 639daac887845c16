package identity

// migrations of the room's tables. Secrets are stored as hashes only.
var migrations = []string{
	`CREATE TABLE job_tokens (
		hash    TEXT PRIMARY KEY,
		run     INTEGER NOT NULL,
		job     TEXT NOT NULL,
		scope   TEXT NOT NULL,
		expires TEXT NOT NULL
	) STRICT;
	CREATE INDEX job_tokens_by_run ON job_tokens (run, job);`,
	`CREATE TABLE users (
		name     TEXT PRIMARY KEY,
		roles    TEXT NOT NULL, -- JSON list
		disabled INTEGER NOT NULL, -- 1 for a user who may not come in
		created  TEXT NOT NULL
	) STRICT;
	CREATE TABLE api_tokens (
		id       TEXT PRIMARY KEY,
		hash     TEXT NOT NULL UNIQUE,
		owner    TEXT NOT NULL, -- name of the user whom it speaks for
		name     TEXT NOT NULL,
		scopes   TEXT NOT NULL, -- JSON list
		projects TEXT NOT NULL, -- JSON list; empty is all
		created  TEXT NOT NULL,
		expires  TEXT NOT NULL,
		used     TEXT NOT NULL -- about when it was last used
	) STRICT;
	CREATE INDEX api_tokens_by_owner ON api_tokens (owner, id);
	CREATE TABLE sessions (
		id      TEXT PRIMARY KEY,
		hash    TEXT NOT NULL UNIQUE,
		owner   TEXT NOT NULL,
		local   INTEGER NOT NULL, -- 1 for this machine's administrator
		agent   TEXT NOT NULL, -- what the browser calls itself
		created TEXT NOT NULL,
		expires TEXT NOT NULL, -- whatever happens
		used    TEXT NOT NULL  -- about when it was last used
	) STRICT;
	CREATE INDEX sessions_by_owner ON sessions (owner, id);
	CREATE TABLE login_codes (
		hash    TEXT PRIMARY KEY,
		owner   TEXT NOT NULL,
		local   INTEGER NOT NULL,
		expires TEXT NOT NULL
	) STRICT;`,
}
