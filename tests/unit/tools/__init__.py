"""Tests of the generators of documentation, a module for each of them."""
