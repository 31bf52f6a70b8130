"""The command line: serve, compare, plan, key, strategies, openapi, docs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

OPENAPI = Path("openapi/openapi.json")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in ("compare", "plan"):
        return ask(given[0], given[1:])
    options = _parser().parse_args(given)
    command = {
        "serve": serve,
        "openapi": openapi,
        "docs": docs,
        "key": key,
        "strategies": strategies,
    }[options.command]
    return command(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m service", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    # Listed here, parsed by `ask`: their options are those of an operation.
    commands.add_parser("compare", help="race the strategies of an operation, or sweep over sizes")
    commands.add_parser("plan", help="say what a call means and costs, and compute nothing")
    serve = commands.add_parser("serve", help="serve HTTP; SERVICE_* variables set the rest")
    serve.add_argument("--host", help="address to listen on (SERVICE_HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port; 0 takes a free one (SERVICE_PORT, 8000)")
    serve.add_argument("--workers", type=int, help="server processes (SERVICE_WORKERS, 1)")
    for name, path, what in (
        ("openapi", OPENAPI, "the OpenAPI document"),
        ("docs", "docs/", "the generated pages"),
    ):
        command = commands.add_parser(name, help=f"write {what}, {path}")
        command.add_argument("--check", action="store_true", help="only say whether it is stale")
    commands.add_parser("key", help="make an API key and the hash that SERVICE_API_KEYS takes")
    commands.add_parser("strategies", help="list the strategies of each operation")
    return parser


def ask(command: str, arguments: Sequence[str]) -> int:
    """Plan or race an operation; what is refused is told with a hint, and gives status 2."""
    from service.commands.compare import compare
    from service.commands.plan import plan
    from service.errors import ServiceError
    from service.settings import SettingsError

    try:
        {"compare": compare, "plan": plan}[command](arguments)
    except ServiceError as error:
        print(error.detail, file=sys.stderr)
        if error.hint is not None:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 2
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    from service.api.serve import check_entry, serve
    from service.settings import SettingsError, from_environment

    try:
        settings = from_environment(host=options.host, port=options.port, workers=options.workers)
        check_entry(settings)
    except SettingsError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 2
    print(f"open http://{settings.host}:{settings.port}", flush=True)
    serve(settings)
    return 0


def openapi(options: argparse.Namespace) -> int:
    """Write the OpenAPI document, or check the one that is there."""
    from service.api.app import create_app
    from service.api.openapi import render
    from service.settings import Settings

    return _write(OPENAPI, render(create_app(Settings()).openapi()), check=options.check)


def docs(options: argparse.Namespace) -> int:
    """Write the generated pages of the documentation, or check those that are there."""
    from service.reference import pages
    from service.strategies import REGISTRY

    found = pages(REGISTRY)
    return max(_write(path, text, check=options.check) for path, text in found.items())


def key(options: argparse.Namespace) -> int:
    """Make an API key, and print it with its hash."""
    from service.api.keys import key_hash, new_key

    made = new_key()
    print(f"key   {made}")
    print(f"hash  {key_hash(made.encode())}")
    print(
        "The key is for the client and is kept nowhere; the hash is for SERVICE_API_KEYS, which "
        "takes several with commas between, each with a name if you like: name:hash",
        file=sys.stderr,
    )
    return 0


def strategies(options: argparse.Namespace) -> int:
    """List the strategies, slowest first."""
    from service.strategies import REGISTRY

    for op in REGISTRY.values():
        print(f"{op.name}: {op.summary}")
        for strategy in op.strategies.values():
            print(f"  {strategy.name:12} {strategy.summary}")
    return 0


def _write(path: Path, text: str, *, check: bool) -> int:
    if check:
        fresh = path.exists() and path.read_text(encoding="utf-8") == text
        if not fresh:
            print(f"{path} is stale: run `make openapi docs`", file=sys.stderr)
        return 0 if fresh else 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
