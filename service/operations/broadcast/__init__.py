"""Elementwise operations with broadcasting."""
