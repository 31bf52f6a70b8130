"""Tests of the picture of the layers."""

from pathlib import Path
from xml.etree import ElementTree as ET

from tools.layers_svg import layers, layers_svg

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"


def test_layers_are_those_of_import_linter() -> None:
    """Every module is in one layer; import-linter's parentheses and bars are left out."""
    rows = layers(ROOT / "pyproject.toml")
    assert rows[0] == ["__main__"]
    assert rows[-1] == ["errors"]
    names = [name for row in rows for name in row]
    there = {path.stem for path in (ROOT / "service").iterdir() if path.suffix in ("", ".py")}
    assert there - set(names) <= {"__init__", "__pycache__", "web", "py"}
    assert len(names) == len(set(names))


def test_a_row_for_each_layer() -> None:
    """A module has a box in its layer's row, beside its siblings and above what it may import."""
    svg = ET.fromstring(layers_svg([["a"], ["b", "c"]]))
    texts = {
        each.text: (float(each.attrib["x"]), float(each.attrib["y"]))
        for each in svg.iter(f"{SVG}text")
        if "x" in each.attrib
    }
    assert set(texts) == {"a", "b", "c"}
    assert texts["a"][1] < texts["b"][1] == texts["c"][1]
    assert texts["b"][0] < texts["a"][0] < texts["c"][0]
    kinds = [each.attrib["class"] for each in svg.iter(f"{SVG}rect")]
    assert kinds == ["layer", "module", "layer", "module", "module"]


def test_modules_keep_inside_their_row() -> None:
    """No layer of the service has more modules than a row holds."""
    svg = ET.fromstring(layers_svg(layers(ROOT / "pyproject.toml")))
    boxes = [
        (each.attrib["class"], float(each.attrib["x"]), float(each.attrib["width"]))
        for each in svg.iter(f"{SVG}rect")
    ]
    left, right = next((x, x + width) for kind, x, width in boxes if kind == "layer")
    assert all(left <= x and x + width <= right for _, x, width in boxes)
