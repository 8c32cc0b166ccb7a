"""The history of the tables: one numbered revision a change, never edited once released."""
