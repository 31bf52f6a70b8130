"""Resources of the service as pages: the data that programs get as JSON, drawn as tables.

A field that is new in the data is a new column: no names of fields stand here but those that are
drawn in a way of their own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, Final

from service.guide.frame import PageContent, relative
from service.guide.markdown import Heading, code_block, render_text
from service.guide.site import RESOURCES

PROSE: Final = {"description", "explanation", "summary"}
IDENTIFIERS: Final = {"name", "setting", "code", "op"}
# A path of the service in a text.
PATH: Final = re.compile(r"(?<![\w/])/[\w/.-]*")
NOTE: Final = '<p class="note">Programs get the same data as JSON.</p>\n'
Record = Mapping[str, Any]


def page_of(path: str, data: Any, address: str) -> PageContent:
    """Return the page of what the route `path` answers, to be shown at `address`."""
    return PAGES[path](data, address)


def _strategies(data: Sequence[Record], _: str) -> PageContent:
    parts: list[str] = []
    headings: list[Heading] = []
    for op in data:
        headings.append(Heading(2, op["name"], op["name"]))
        parts += [_entry(headings[-1]), render_text(op["summary"])]
        parts.append(_fields(_without(op, "name", "summary", "strategies")))
        for each in op["strategies"]:
            headings.append(Heading(3, f"{op['name']}-{each['name']}", each["name"]))
            parts += [_entry(headings[-1]), render_text(each["summary"])]
            parts.append(_fields(_without(each, "op", "name", "summary", "snippet")))
            source = code_block(each["snippet"], "python")
            parts.append(f"<details><summary>Source</summary>{source}</details>")
    return _page("strategies", *parts, headings=headings)


def _devices(data: Record, _: str) -> PageContent:
    headings = [Heading(2, each["name"], each["name"]) for each in data["devices"]]
    parts = [
        _entry(heading) + _fields(_without(each, "name"))
        for heading, each in zip(headings, data["devices"], strict=True)
    ]
    rest = _fields(_without(data, "devices"))
    return _page("devices", rest, *parts, headings=headings)


def _entry(heading: Heading) -> str:
    """Return the heading of one operation, strategy or device."""
    tag = f"h{heading.level}"
    return f'<{tag} id="{escape(heading.anchor)}">{escape(heading.text)}</{tag}>'


def _limits(data: Sequence[Record], _: str) -> PageContent:
    return _page("limits", _table(data))


def _problems(data: Sequence[Record], address: str) -> PageContent:
    def link(code: str) -> str:
        href = relative(f"problems/{code}", address)
        return f'<a href="{escape(href)}"><code>{escape(code)}</code></a>'

    rows = sorted((_without(each, "explanation") for each in data), key=lambda row: row["status"])
    return _page("problems", _table(rows, code=link))


def error_page(data: Record, address: str) -> PageContent:
    """Return the page of a problem document, with the explanation of its code."""
    said = [f'<p class="said">{escape(data["detail"])}</p>']
    if "hint" in data:
        said.append(f'<p class="said">{_linked(data["hint"], address)}</p>')
    return _problem(_without(data, "type", "detail", "hint", "instance"), address, "\n".join(said))


def _linked(text: str, address: str) -> str:
    """Return a text whose paths are links."""
    parts, at = [], 0
    for found in PATH.finditer(text):
        href = escape(relative(found[0][1:], address))
        parts += [escape(text[at : found.start()]), f'<a href="{href}">{escape(found[0])}</a>']
        at = found.end()
    return "".join([*parts, escape(text[at:])])


def _problem(data: Record, address: str, said: str = "") -> PageContent:
    title, code = data["title"], data["code"]
    errors = f"{relative('guide/errors', address)}#{code}"
    html = (
        f"<h1>{escape(title)}</h1>\n"
        + said
        + _fields(_without(data, "title", "explanation"))
        + render_text(data["explanation"])
        + f'<p>Similar errors are on the page <a href="{escape(errors)}">Errors</a>; '
        f'<a href="{relative("problems", address)}">Problem codes</a> lists all.</p>\n'
    )
    return PageContent(title, html + NOTE)


PAGES: Final[Mapping[str, Callable[[Any, str], PageContent]]] = {
    "/strategies": _strategies,
    "/devices": _devices,
    "/limits": _limits,
    "/problems": _problems,
    "/problems/{code}": _problem,
}


def _page(name: str, *parts: str, headings: Sequence[Heading] = ()) -> PageContent:
    title = RESOURCES[name]
    html = "\n".join([f"<h1>{title}</h1>", *parts, NOTE])
    return PageContent(title, html, tuple(headings))


def _without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}


def _table(rows: Sequence[Record], **cells: Callable[[Any], str]) -> str:
    """Return a table of records with a column for each field; `cells` draw those of their names."""
    names = [*dict.fromkeys(name for row in rows for name in row)]
    head = "".join(f'<th scope="col">{_label(name)}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cells[name](row[name]) if name in cells else _value(name, row.get(name))}</td>"
            for name in names
        )
        + "</tr>\n"
        for row in rows
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div class="wide">{table}</div>\n'


def _label(name: str) -> str:
    return escape(name.replace("_", " "))


def _value(name: str, value: Any) -> str:
    """Return a value of JSON as HTML: a text, a list, or fields with their names."""
    match value:
        case []:
            return _scalar(name, None)
        case [{}, *_]:
            return "".join(map(_fields, value))
        case list():
            return ", ".join(_value(name, each) for each in value)
        case dict():
            return _fields(value) if value else _scalar(name, None)
        case _:
            return _scalar(name, value)


def _fields(record: Record) -> str:
    pairs = (
        f"<div><dt>{_label(name)}</dt><dd>{_value(name, value)}</dd></div>"
        for name, value in record.items()
    )
    return f"<dl>{''.join(pairs)}</dl>"


def _scalar(name: str, value: Any) -> str:
    match value:
        case None:
            return '<span class="state">none</span>'
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
        case _:
            return _text(name, value)


def _text(name: str, text: str) -> str:
    if name in PROSE:
        return render_text(text)
    return f"<code>{escape(text)}</code>" if name in IDENTIFIERS else escape(text)
