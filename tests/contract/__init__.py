"""The contract with clients, tested over HTTP."""
