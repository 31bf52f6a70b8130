"""Tests of service/codecs/binary, a module each."""
