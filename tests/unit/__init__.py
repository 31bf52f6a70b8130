"""Modules on their own."""
