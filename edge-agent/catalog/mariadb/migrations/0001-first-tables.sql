-- Everything of a VM hangs on its context and goes with it.
CREATE TABLE IF NOT EXISTS vm_context (
  vm_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  platform VARCHAR(32) CHARACTER SET ascii NOT NULL,
  platform_ref VARCHAR(500) COLLATE utf8mb4_bin NULL,
  name VARCHAR(255) NOT NULL,
  power_state VARCHAR(16) CHARACTER SET ascii NOT NULL,
  guest_agent BOOLEAN NOT NULL,
  memory_bytes BIGINT UNSIGNED NOT NULL,
  cpu_count INT UNSIGNED NOT NULL,
  present BOOLEAN NOT NULL,
  restored_from_restore_point_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  restored_by_job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  created_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
  UNIQUE KEY vm_context_by_ref (platform, platform_ref)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS vm_disk (
  vm_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  disk_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  position INT UNSIGNED NOT NULL,
  size_bytes BIGINT UNSIGNED NOT NULL,
  change_tracking BOOLEAN NOT NULL,
  tracking_restore_point_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  tracking_manifest_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  tracking_checkpoint VARCHAR(500) COLLATE utf8mb4_bin NULL,
  tracking_granularity_bytes BIGINT UNSIGNED NULL,
  tracking_size_bytes BIGINT UNSIGNED NULL,
  PRIMARY KEY (vm_id, disk_id),
  FOREIGN KEY (vm_id) REFERENCES vm_context (vm_id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS job (
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  kind VARCHAR(16) CHARACTER SET ascii NOT NULL,
  vm_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  command_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  arguments LONGTEXT NOT NULL,
  state VARCHAR(16) CHARACTER SET ascii NOT NULL,
  revision INT UNSIGNED NOT NULL,
  attempt INT UNSIGNED NOT NULL,
  queued_at DATETIME(3) NOT NULL,
  started_at DATETIME(3) NULL,
  ended_at DATETIME(3) NULL,
  result LONGTEXT NULL,
  error LONGTEXT NULL,
  KEY job_by_state (state, queued_at),
  KEY job_by_vm (vm_id, queued_at),
  FOREIGN KEY (vm_id) REFERENCES vm_context (vm_id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS job_log (
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sequence INT UNSIGNED NOT NULL,
  at DATETIME(3) NOT NULL,
  level VARCHAR(16) CHARACTER SET ascii NOT NULL,
  step VARCHAR(64) NOT NULL,
  sentence VARCHAR(1000) NOT NULL,
  PRIMARY KEY (job_id, sequence),
  FOREIGN KEY (job_id) REFERENCES job (job_id) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS repository (
  repository_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  kind VARCHAR(32) CHARACTER SET ascii NOT NULL,
  location VARCHAR(1000) NOT NULL,
  created_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- job_id has no foreign key: a restore point outlives the row of the job that made it.
CREATE TABLE IF NOT EXISTS restore_point (
  restore_point_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  vm_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  vm_name VARCHAR(255) NOT NULL,
  repository_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  job_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  parent_restore_point_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NULL,
  taken_at DATETIME(3) NOT NULL,
  sealed_at DATETIME(3) NOT NULL,
  consistency VARCHAR(16) CHARACTER SET ascii NOT NULL,
  manifest_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  disks LONGTEXT NOT NULL,
  adopted BOOLEAN NOT NULL,
  verification LONGTEXT NULL,
  KEY restore_point_by_vm (vm_id, repository_id, taken_at),
  KEY restore_point_by_job (job_id),
  FOREIGN KEY (vm_id) REFERENCES vm_context (vm_id) ON DELETE CASCADE,
  FOREIGN KEY (repository_id) REFERENCES repository (repository_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS command_inbox (
  command_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  sequence BIGINT UNSIGNED NOT NULL,
  state VARCHAR(16) CHARACTER SET ascii NOT NULL,
  payload LONGTEXT NOT NULL,
  received_at DATETIME(3) NOT NULL,
  UNIQUE KEY command_inbox_by_sequence (sequence),
  KEY command_inbox_by_state (state, sequence)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS event_outbox (
  sequence BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  at DATETIME(3) NOT NULL,
  event LONGTEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS setting (
  name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  value BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
