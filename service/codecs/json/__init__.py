"""JSON request bodies and answers."""
