"""Tests of service/executors, a module each."""
