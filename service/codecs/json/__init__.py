"""JSON requests and responses."""
