"""Tests of service/compare, a module each."""
