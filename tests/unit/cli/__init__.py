"""Tests of service/cli, a module each."""
