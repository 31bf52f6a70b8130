"""Generators of documentation and pictures. They are no part of the package."""
