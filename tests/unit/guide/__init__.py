"""Tests of service/guide, a module each."""
