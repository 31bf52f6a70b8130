"""Generators of documents and pictures, and the build of the extension module.

They are not part of the package `service`.
"""
