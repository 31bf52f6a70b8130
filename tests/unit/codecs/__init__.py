"""Tests of service/codecs, a module each."""
