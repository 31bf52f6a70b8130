"""Tests of service/codecs/inference, a module each."""
