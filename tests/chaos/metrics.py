"""What a server tells of itself: its figures, and whether it takes calls."""

from tests.chaos.clients import Got, connect, got


def ask(url: str, path: str) -> Got:
    """The answer to a GET, on a connection of its own."""
    connection = connect(url)
    try:
        connection.request("GET", path)
        return got(connection.getresponse())
    finally:
        connection.close()


def figure(url: str, name: str) -> float:
    """The sum of one figure of GET /metrics over all its labels."""
    lines = ask(url, "/metrics").body.decode().splitlines()
    names = (f"tensor_service_{name} ", f"tensor_service_{name}{{")
    return sum(float(line.split()[-1]) for line in lines if line.startswith(names))


def inside(url: str) -> float:
    """How many calls run or wait, in all lanes."""
    return figure(url, "calls_inside")
