"""Metrics of a server, read from GET /metrics."""

from tests.chaos.clients import CallResponse, connect, read_response


def fetch(url: str, path: str) -> CallResponse:
    """Send a GET on a connection of its own and read its response."""
    connection = connect(url)
    try:
        connection.request("GET", path)
        return read_response(connection.getresponse())
    finally:
        connection.close()


def metric(url: str, name: str) -> float:
    """Return the sum of one metric over all its labels."""
    lines = fetch(url, "/metrics").body.decode().splitlines()
    names = (f"tensor_service_{name} ", f"tensor_service_{name}{{")
    return sum(float(line.split()[-1]) for line in lines if line.startswith(names))


def calls_inside(url: str) -> float:
    """Return how many calls run or wait, in all executors."""
    return metric(url, "calls_inside")
