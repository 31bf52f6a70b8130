"""Tests of service/operations, a module each."""
