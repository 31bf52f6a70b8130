"""Tests of service/api, a module each."""
