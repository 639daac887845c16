package runs

// migrations of the room's tables. Runs, jobs and steps carry an engine, so
// that other engines need no second set of tables.
var migrations = []string{
	`CREATE TABLE runs (
		id            INTEGER PRIMARY KEY AUTOINCREMENT,
		engine        TEXT NOT NULL,
		repo          TEXT NOT NULL,
		workflow_path TEXT NOT NULL,
		workflow      TEXT NOT NULL,
		source        TEXT NOT NULL, -- the workflow file as it was
		github        TEXT NOT NULL, -- the github context, JSON
		title         TEXT NOT NULL,
		number        INTEGER NOT NULL,
		event         TEXT NOT NULL,
		event_id      TEXT NOT NULL,
		ref           TEXT NOT NULL,
		sha           TEXT NOT NULL,
		actor         TEXT NOT NULL,
		status        TEXT NOT NULL,
		conclusion    TEXT NOT NULL,
		message       TEXT NOT NULL,
		cancelled     INTEGER NOT NULL, -- 1 once cancellation was requested
		created_at    TEXT NOT NULL,
		started_at    TEXT NOT NULL,
		finished_at   TEXT NOT NULL,
		UNIQUE (event_id, ref, workflow_path),
		UNIQUE (repo, workflow_path, number)
	) STRICT;
	CREATE INDEX runs_active ON runs (id) WHERE status <> 'completed';
	CREATE INDEX runs_by_repo ON runs (repo, id);
	CREATE TABLE jobs (
		id                INTEGER PRIMARY KEY AUTOINCREMENT,
		engine            TEXT NOT NULL,
		run               INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
		key               TEXT NOT NULL,
		position          INTEGER NOT NULL,
		name              TEXT NOT NULL,
		status            TEXT NOT NULL,
		conclusion        TEXT NOT NULL,
		message           TEXT NOT NULL,
		continue_on_error INTEGER NOT NULL,
		outputs           TEXT NOT NULL, -- JSON object
		offset            INTEGER NOT NULL, -- how far its journal was read
		started_at        TEXT NOT NULL,
		finished_at       TEXT NOT NULL,
		UNIQUE (run, key)
	) STRICT;
	CREATE INDEX jobs_active ON jobs (id) WHERE status = 'in_progress';
	CREATE TABLE steps (
		engine      TEXT NOT NULL,
		job         INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
		number      INTEGER NOT NULL,
		name        TEXT NOT NULL,
		status      TEXT NOT NULL,
		outcome     TEXT NOT NULL,
		conclusion  TEXT NOT NULL,
		started_at  TEXT NOT NULL,
		finished_at TEXT NOT NULL,
		PRIMARY KEY (job, number)
	) STRICT;
	CREATE TABLE annotations (
		job     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
		step    INTEGER NOT NULL,
		level   TEXT NOT NULL,
		title   TEXT NOT NULL,
		file    TEXT NOT NULL,
		line    INTEGER NOT NULL,
		message TEXT NOT NULL
	) STRICT;
	CREATE INDEX annotations_by_job ON annotations (job);`,
	// Where a job's logs are: in its directory until sealed_at, in blobs and
	// its directory until pruned.
	`ALTER TABLE jobs ADD COLUMN sealed_at TEXT NOT NULL DEFAULT '';
	ALTER TABLE jobs ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0;
	CREATE INDEX jobs_unpruned ON jobs (id) WHERE pruned = 0;`,

	// Annotations are listed as they came, so they have numbers.
	`CREATE TABLE annotations_new (
		id      INTEGER PRIMARY KEY AUTOINCREMENT,
		job     INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
		step    INTEGER NOT NULL,
		level   TEXT NOT NULL,
		title   TEXT NOT NULL,
		file    TEXT NOT NULL,
		line    INTEGER NOT NULL,
		message TEXT NOT NULL
	) STRICT;
	INSERT INTO annotations_new (job, step, level, title, file, line, message)
		SELECT job, step, level, title, file, line, message FROM annotations;
	DROP TABLE annotations;
	ALTER TABLE annotations_new RENAME TO annotations;
	CREATE INDEX annotations_by_job ON annotations (job, id);`,
}

// engineActions is what the engine column holds for this room's runs.
const engineActions = "actions"
