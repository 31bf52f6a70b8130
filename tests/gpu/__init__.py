"""Proof of the service on a GPU, in one command."""
