"""Tests of service/compare/reference, a module each; mpmath is the oracle."""
