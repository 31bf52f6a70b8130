"""The picture of the house."""

from pathlib import Path
from xml.etree import ElementTree as ET

from tools.layers_svg import house, layers

ROOT = Path(__file__).parents[3]


def test_layers_are_those_of_import_linter() -> None:
    """Every module has its room; parentheses and bars are import-linter's."""
    rows = layers(ROOT / "pyproject.toml")
    assert rows[0] == ["__main__"]
    assert rows[-1] == ["errors"]
    rooms = [name for row in rows for name in row]
    there = {path.stem for path in (ROOT / "service").iterdir() if path.suffix in ("", ".py")}
    assert there - set(rooms) <= {"__init__", "__pycache__", "web", "py"}
    assert len(rooms) == len(set(rooms))


def test_a_floor_for_each_layer() -> None:
    """A room for each module, beside its siblings and above those that it may import."""
    svg = ET.fromstring(house([["a"], ["b", "c"]]))
    texts = {
        each.text: (float(each.attrib["x"]), float(each.attrib["y"]))
        for each in svg.iter("{http://www.w3.org/2000/svg}text")
    }
    assert texts["a"][1] < texts["b"][1] == texts["c"][1]
    assert texts["b"][0] < texts["a"][0] < texts["c"][0]
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}rect"))) == 3
