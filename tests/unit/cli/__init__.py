"""Tests of service/cli, a module for each of its modules."""
