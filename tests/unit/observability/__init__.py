"""Tests of service/observability, a module each."""
