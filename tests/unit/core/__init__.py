"""Tests of service/core, a module each."""
