"""Files on disk <-> arrays."""
