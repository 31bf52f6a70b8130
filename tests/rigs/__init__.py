"""Test rigs: apps, servers, clusters and proxies to test against, and requests to send to them."""
