"""Sockets and server processes. The application is known here only as ASGI and by its endpoints."""
