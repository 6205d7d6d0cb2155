-- What is known of the packs of chunk repositories: a cache of what lies in their stores.
CREATE TABLE IF NOT EXISTS chunk_pack (
  repository_id CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  pack_id CHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  generation INT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  size_bytes BIGINT UNSIGNED NOT NULL,
  locked_until DATETIME(3) NULL,
  directory MEDIUMBLOB NOT NULL,
  PRIMARY KEY (repository_id, pack_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
