"""Tests of service/server, a module each."""
