"""Counters, metrics, logs and spans. No web framework is imported here."""
