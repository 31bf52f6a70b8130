"""Scaling of the service: instances behind the proxy, and products on a cluster."""
