"""The client as a distribution: installed from its folder alone, with what it says it needs."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from tests.docs.blocks import blocks
from tests.rigs.paths import CLIENT, ROOT
from tests.rigs.servers import unmeasured

# -I and -S: no folder but those named here and the standard library.
ISOLATED: Final = (sys.executable, "-I", "-S", "-c")
PAGES: Final = (ROOT / "docs" / "quickstart.md", ROOT / "client" / "README.md")


def needed(name: str) -> set[str]:
    """Return the distributions that one needs here, with itself, its extras left out."""
    found = {name}
    for each in map(Requirement, requires(name) or ()):
        if each.marker is None or each.marker.evaluate({"extra": ""}):
            found |= needed(each.name)
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder with the installed client, and one with what its metadata says it needs."""
    root = tmp_path_factory.mktemp("installation")
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(CLIENT.parent, root / "client", ignore=ignored)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    offline = ["--no-build-isolation", "--no-compile", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *offline, "--target", root / "installed", root / "client"],
        env=unmeasured(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (metadata,) = (root / "installed").glob("*.dist-info/METADATA")
    wanted = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata.read_text(), re.MULTILINE)
    (root / "needed").mkdir()
    for name in set().union(*map(needed, wanted)):
        for path in {Path(file.parts[0]) for file in distribution(name).files or ()}:
            target = Path(str(distribution(name).locate_file(path)))
            if ".." not in path.parts and path.name != "__pycache__" and target.exists():
                (root / "needed" / path).symlink_to(target)
    return [root / "installed", root / "needed"]


def run(code: str, folders: list[Path], folder: Path) -> str:
    """Run a program with these folders as its packages, and return its output."""
    paths = [str(each) for each in folders]
    done = subprocess.run(
        [*ISOLATED, f"import sys; sys.path += {paths!r}\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_else_is_there(folders: list[Path], tmp_path: Path) -> None:
    """Neither the service nor what it needs, torch among it, nor safetensors."""
    code = """
from importlib.util import find_spec
names = ("tensor_service_client", "numpy", "httpx")
print(*map(bool, map(find_spec, names)))
print(*map(find_spec, ("service", "torch", "safetensors", "altair", "pydantic", "fastapi")))
"""
    assert run(code, folders, tmp_path).splitlines() == [
        " ".join(["True"] * 3),
        " ".join(["None"] * 6),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_first_program_runs(
    page: Path, folders: list[Path], base_url: str, tmp_path: Path
) -> None:
    """The Python of the quickstart and of the distribution's own page."""
    (block,) = [each for each in blocks(page) if each.language == "python"]
    assert "torch" in run(block.code.replace("http://127.0.0.1:8000", base_url), folders, tmp_path)


def test_the_distribution_is_typed_and_light(folders: list[Path]) -> None:
    """It has the package, its mark of types, and nothing beside it."""
    names = {path.name.partition("-")[0] for path in folders[0].iterdir()}
    assert names == {"tensor_service_client"}
    assert (folders[0] / "tensor_service_client" / "py.typed").exists()
