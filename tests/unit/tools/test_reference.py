"""Tests of the generated pages of the documentation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.core.call import Tensor
from service.core.dtypes import BOOL, DTYPES, NUMBERS
from service.operations import REGISTRY
from service.registry import Inferred, Op, Param, Registry, Work
from service.settings import Settings
from tools.reference import errors_page, generated_files, main, operations_page, settings_page

ROOT = Path(__file__).parents[3]
FILES = ("docs/operations.md", "docs/settings.md", "docs/errors.md", "docs/images/layers.svg")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the generators read, and no generated page."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_write_and_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes the files; with `--check` it names stale ones and changes none."""
    assert main(["--check"]) == 1
    assert capsys.readouterr().err.splitlines()[:4] == [
        f"{name} is stale: run `make openapi docs`" for name in FILES
    ]
    assert not (folder / "docs").exists()
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote {name}" for name in FILES]
    assert main(["--check"]) == 0
    assert capsys.readouterr().err == ""
    for name in FILES:
        (folder / name).write_text("another", encoding="utf-8")
        assert main(["--check"]) == 1
        assert capsys.readouterr().err == f"{name} is stale: run `make openapi docs`\n"
        assert (folder / name).read_text(encoding="utf-8") == "another"
        main([])
        capsys.readouterr()


def test_as_a_module() -> None:
    """`python -m tools.reference` runs the generator."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.reference", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.startswith("usage: python -m tools.reference [-h] [--check]")


def test_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip in the option is an error, and no file is written."""
    with pytest.raises(SystemExit) as caught:
        main(["--chek"])
    assert caught.value.code == 2
    assert "--chek" in capsys.readouterr().err


def test_every_strategy_is_there() -> None:
    """The page has each operation, parameter and strategy, with the source of each strategy."""
    page = operations_page(REGISTRY)
    for op in REGISTRY.values():
        assert f"\n## {op.name}\n\n{op.summary}\n" in page
        for param in op.params:
            assert f"| `{param.name}` |" in page
        for strategy in op.strategies.values():
            shown = f"```python\n{strategy.snippet}\n```"
            if strategy.kernel is not None:  # too long for the page
                path = strategy.kernel.partition(":")[0].replace(".", "/") + ".py"
                assert (ROOT / path).exists()
                shown = f"See [{path}](../{path})."
            assert f"### {op.name} by {strategy.name}\n\n{shown}\n" in page
    assert "| `equation` | required |" in page
    assert '| `optimize` | `"auto"` |' in page
    assert "| `keepdim` | `false` |" in page
    assert "| `ord` | `null` |" in page
    assert "\nOperands: `a`, `b`.\n" in page
    assert "\nOperands: `operands`.\n" in page


def test_dtypes_in_few_words() -> None:
    """The dtypes of a strategy are shown as all, none, all but a few, or a list."""
    op: Op[Inferred] = Op(
        name="copy",
        summary="Copies.",
        operands=("x",),
        params=(Param("deep", "How.", {}, lambda value: value, default=False),),
        infer=lambda specs, deep: Inferred(
            specs=specs, shape=(), dtype=specs[0].dtype, multiply_adds=0
        ),
        check_overflow=lambda inferred, operands: None,
        auto=(),
        samples=(),
        error_samples=(),
        calibration_samples=(),
    )

    def copy(x: Tensor) -> Tensor:
        """Copies."""
        return x

    few = frozenset({DTYPES["int8"].torch, DTYPES["float64"].torch})
    for name, dtypes in (("every", NUMBERS | BOOL), ("most", NUMBERS), ("few", few)):
        op.strategy(name, adapt=lambda c, m, x: x[0], work=lambda _: Work(1, 0), dtypes=dtypes)(
            copy
        )
    page = operations_page(Registry(op))
    assert "| `every` | Copies. | all | none |" in page
    assert "| `most` | Copies. | all but bool | none |" in page
    assert "| `few` | Copies. | float64, int8 | none |" in page


def test_settings_page() -> None:
    """The page lists each variable with its default."""
    page = settings_page()
    for name in Settings.model_fields:
        assert f"| `SERVICE_{name.upper()}` |" in page
    assert "| `SERVICE_PORT` | `8000` |" in page
    assert "| `SERVICE_SLOTS` | by the host |" in page


def test_errors_page() -> None:
    """The page orders the codes by status."""
    page = errors_page()
    assert page.index("## malformed-json") < page.index("## shape-mismatch")
    assert page.index("## shape-mismatch") < page.index("## overloaded")
    assert "\n\n422: Operand shapes do not fit.\n\n" in page


def test_generated_files(folder: Path) -> None:
    """Each file has the text of its generator."""
    found = generated_files(REGISTRY)
    assert found.keys() == set(map(Path, FILES))
    assert found[Path("docs/operations.md")] == operations_page(REGISTRY)
    assert found[Path("docs/settings.md")] == settings_page()
    assert found[Path("docs/errors.md")] == errors_page()


def test_rows_have_as_many_cells_as_their_header() -> None:
    """Cells beyond the header would not be shown."""
    rows = [line for line in operations_page(REGISTRY).splitlines() if line.startswith("| ")]
    columns = 0
    for row, following in zip(rows, [*rows[1:], ""], strict=True):
        cells = row.replace("\\|", "").count("|")
        if following.startswith("| ---"):
            columns = cells
        assert cells == columns, row
