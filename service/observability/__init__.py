"""Counters, metrics, logs and spans. Nothing in here knows a web framework."""
