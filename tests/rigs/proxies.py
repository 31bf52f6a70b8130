"""nginx with deploy/nginx.conf in front of instances on this host, on other ports."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.rigs.paths import ROOT

FILE: Final = ROOT / "deploy" / "nginx.conf"
UPSTREAMS: Final = (
    "        server 127.0.0.1:8001 max_fails=0;\n        server 127.0.0.1:8002 max_fails=0;\n"
)


def configured(port: int, instances: Sequence[int], changes: Mapping[str, str]) -> str:
    """Return the configuration that listens on `port`, before instances on other ports.

    `changes` are lines of the file and their replacements.
    """
    text = FILE.read_text(encoding="utf-8")
    upstreams = "".join(f"        server 127.0.0.1:{each} max_fails=0;\n" for each in instances)
    ports = {UPSTREAMS: upstreams, "listen 127.0.0.1:8000;": f"listen 127.0.0.1:{port};"}
    for found, new in (ports | dict(changes)).items():
        assert text.count(found) == 1, f"deploy/nginx.conf should have this once: {found}"
        text = text.replace(found, new)
    return text


@contextmanager
def nginx(configuration: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the proxy in the folder of its configuration until the end of the block."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "nginx is required and missing"
    # As root it would run its workers as a user without access to the folder.
    user = ("-g", "user root;") if os.geteuid() == 0 else ()
    paths = ("-p", str(configuration.parent), "-e", "stderr", "-c", str(configuration))
    with subprocess.Popen([program, *paths, *user, *more]) as process:
        try:
            yield process
        finally:
            process.terminate()
