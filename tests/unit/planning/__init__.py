"""Tests of service/planning, a module each."""
