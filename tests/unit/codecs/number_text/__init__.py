"""Tests of service/codecs/number_text, a module each."""
