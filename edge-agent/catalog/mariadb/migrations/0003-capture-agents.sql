-- Keys that the tunnel lets in.
CREATE TABLE IF NOT EXISTS capture_agent (
  capture_agent_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  ports LONGTEXT NOT NULL,
  key_fingerprint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  public_key VARCHAR(500) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  enrolled_at DATETIME(3) NOT NULL,
  revoked_at DATETIME(3) NULL,
  UNIQUE KEY capture_agent_by_key (key_fingerprint)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS capture_token (
  secret_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  capture_agent_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(255) NOT NULL,
  ports LONGTEXT NOT NULL,
  expires_at DATETIME(3) NOT NULL,
  used_by VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
  KEY capture_token_by_expiry (expires_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
