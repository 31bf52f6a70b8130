"""What a client may rely on, tested over HTTP."""
