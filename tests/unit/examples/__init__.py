"""Tests of service/examples, a module each."""
