"""How the service grows: instances behind the proxy, and products on a cluster."""
