"""The revisions; `tables.SCHEMA_VERSION` names the newest."""
