"""Files: the folder of a panel, files that appear whole, locks, SQLite, YAML, the cache folder."""
