"""The service holds: hostile requests, overload, signals and long runs against a real server."""
