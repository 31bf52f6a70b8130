"""Tests of service/pipeline, a module each."""
