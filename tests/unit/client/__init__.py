"""Tests of service/client, a module each."""
