"""Tests of service/errors, a module each."""
