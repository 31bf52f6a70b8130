"""Generators of documentation and pictures. They are not part of the package `service`."""
