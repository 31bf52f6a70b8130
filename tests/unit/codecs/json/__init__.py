"""Tests of service/codecs/json, a module each."""
