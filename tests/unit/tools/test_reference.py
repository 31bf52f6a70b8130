"""The generated pages of the documentation."""

import shutil
from pathlib import Path

import pytest

from service.core.call import Tensor
from service.core.dtypes import BOOL, DTYPES, NUMBERS
from service.operations import REGISTRY
from service.registry import Inferred, Op, Param, Registry, Work
from service.settings import Settings
from tools.reference import MARKS, errors_page, operations_page, pages, settings_page

ROOT = Path(__file__).parents[3]


def test_every_strategy_is_there() -> None:
    """The page has each operation, parameter and strategy, with the source that users may read."""
    page = operations_page(REGISTRY)
    for op in REGISTRY.values():
        assert f"\n## {op.name}\n\n{op.summary}\n" in page
        for param in op.params:
            assert f"| `{param.name}` |" in page
        for strategy in op.strategies.values():
            assert f"### {op.name} by {strategy.name}\n\n```python\n{strategy.snippet}\n```" in page
    assert "| `equation` | required |" in page
    assert '| `optimize` | `"auto"` |' in page
    assert "| `keepdim` | `false` |" in page
    assert "| `ord` | `null` |" in page
    assert "\nOperands: `a`, `b`.\n" in page
    assert "\nOperands: `operands`.\n" in page


def test_dtypes_in_few_words() -> None:
    """A strategy's dtypes are all, none, all but a few, or the few."""
    op: Op[Inferred] = Op(
        name="copy",
        summary="Copies.",
        operands=("x",),
        params=(Param("deep", "How.", {}, lambda value: value, default=False),),
        infer=lambda specs, deep: Inferred(
            specs=specs, shape=(), dtype=specs[0].dtype, multiply_adds=0
        ),
        check_overflow=lambda meaning, operands: None,
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
    """Each variable stands there with its default."""
    page = settings_page()
    for name in Settings.model_fields:
        assert f"| `SERVICE_{name.upper()}` |" in page
    assert "| `SERVICE_PORT` | `8000` |" in page
    assert "| `SERVICE_SLOTS` | by the host |" in page


def test_errors_page() -> None:
    """Codes stand by status."""
    page = errors_page()
    assert page.index("## malformed-json") < page.index("## shape-mismatch")
    assert page.index("## shape-mismatch") < page.index("## overloaded")
    assert "\n\n422: Operand shapes do not fit.\n\n" in page


def test_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README keeps its words around the table of strategies, which is written anew."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    Path("README.md").write_text(f"before\n{MARKS[0]}stale\n{MARKS[1]}after\n", encoding="utf-8")
    found = pages(REGISTRY)
    assert found[Path("docs/operations.md")] == operations_page(REGISTRY)
    readme = found[Path("README.md")]
    assert readme.startswith(f"before\n{MARKS[0]}| operation | strategy | |\n")
    assert readme.endswith(f"{MARKS[1]}after\n")
    assert "stale" not in readme
    torch = REGISTRY["matmul"].strategies["torch"]
    assert f"| matmul | `torch` | {torch.summary} |" in readme
