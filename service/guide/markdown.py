"""Markdown as HTML: headings with links to themselves, code in colours, tabs, wide tables."""

import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

TAB: Final = re.compile(r'=== "([^"]+)"\s*')
TAB_INDENT: Final = 4
TITLE: Final = re.compile(r'title="([^"]+)"')
# A scheme or a host: a link to another site.
OUTWARD: Final = re.compile(r"[a-z]+:|//")
# Words of a text, and the hyphens and spaces between them, are what an anchor keeps.
NO_ANCHOR: Final = re.compile(r"[^\w\- ]")
# Classes of tokens, which the style sheet colours, instead of styles in the text.
FORMATTER: Final = HtmlFormatter(nowrap=True)
# Blocks of code in fences, and indented ones.
CODE: Final = ("fence", "code_block")
# Returns the address of a link or a picture, or None for what is no part of the guide.
Resolve = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a page, and the anchor that leads to it."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the plain text below it."""

    heading: Heading
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A rendered text: its HTML, and its sections in order."""

    html: str
    sections: tuple[Section, ...]


def render(text: str, resolve: Resolve) -> Document:
    """Return the HTML of Markdown; HTML in it is text."""
    env: MutableMapping[str, Any] = {"tabs": 0}
    tokens = PARSER.parse(text, env)
    sections = _sections(tokens)
    _set_links(tokens, resolve)
    _set_classes(tokens)
    return Document(PARSER.renderer.render(tokens, PARSER.options, env), sections)


def render_text(text: str) -> str:
    """Return the HTML of Markdown without headings, whose links are not followed."""
    return render(text, lambda _: None).html


def title_of(text: str) -> str:
    """Return the first line of a page, a heading, as plain text."""
    return text.partition("\n")[0].removeprefix("# ").replace("`", "")


def code(text: str, language: str) -> str:
    """Return source code in colours."""
    html: str = highlight(text, get_lexer_by_name(language, stripnl=False), FORMATTER)
    return html.rstrip("\n")


def code_block(text: str, language: str = "text", title: str | None = None) -> str:
    """Return a block of source code, perhaps with its title."""
    head = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    return f'<figure class="code">{head}<pre><code>{code(text, language)}</code></pre></figure>\n'


def anchor_of(text: str, taken: set[str]) -> str:
    """Return the anchor of a heading, as GitHub has it, and add it to `taken`."""
    name = anchor = NO_ANCHOR.sub("", text.lower()).replace(" ", "-")
    number = 0
    while anchor in taken:
        number += 1
        anchor = f"{name}-{number}"
    taken.add(anchor)
    return anchor


def _sections(tokens: Sequence[Token]) -> tuple[Section, ...]:
    """Return the headings and their texts; each heading gets its anchor, and a link to it."""
    taken: set[str] = set()
    headings: list[Heading] = []
    texts: list[list[str]] = []
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            text = _plain(token)
            headings.append(Heading(int(before.tag[1]), anchor_of(text, taken), text))
            texts.append([])
            before.attrSet("id", headings[-1].anchor)
            if headings[-1].level > 1:
                token.children = [*(token.children or ()), _permalink(headings[-1])]
        elif texts and token.type in {"inline", *CODE}:
            texts[-1].append(_plain(token))
    return tuple(
        Section(heading, " ".join(" ".join(parts).split()))
        for heading, parts in zip(headings, texts, strict=True)
    )


def _permalink(heading: Heading) -> Token:
    label = escape(f"Link to {heading.text}")
    html = f' <a class="permalink" href="#{heading.anchor}" aria-label="{label}">#</a>'
    return Token("html_inline", "", 0, content=html)


def _plain(token: Token) -> str:
    """Return the text of a token without its marks."""
    if token.type in CODE:
        return token.content
    children = token.children or ()
    return "".join(" " if each.type == "softbreak" else each.content for each in children)


def _set_links(tokens: Sequence[Token], resolve: Resolve) -> None:
    """Set the addresses of links and pictures; a link without one becomes its text."""
    for token in tokens:
        children = token.children or []
        kept = []
        is_open = True
        for child in children:
            if child.type == "link_open":
                is_open = _set_address(child, "href", resolve)
            if child.type == "image":
                _set_address(child, "src", resolve)
            if is_open or not child.type.startswith("link_"):
                kept.append(child)
        token.children = kept if children else token.children


def _set_address(token: Token, name: str, resolve: Resolve) -> bool:
    """Set the address in an attribute, and return whether there is one."""
    target = str(token.attrs[name])
    if OUTWARD.match(target):
        token.attrSet("rel", "noreferrer")
        return True
    address = resolve(target)
    if address is not None:
        token.attrSet(name, address)
    return address is not None


def _set_classes(tokens: Sequence[Token]) -> None:
    """Replace the styles of aligned columns by classes: the pages' policy forbids styles."""
    for token in tokens:
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrSet("class", str(style).replace(":", "-"))


def _code(_: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    title = TITLE.search(token.info)
    language = (token.info.split() or ["text"])[0]
    return code_block(token.content, language, title[1] if title else None)


def _table_open(*_: object) -> str:
    return '<div class="wide"><table>\n'


def _table_close(*_: object) -> str:
    return "</table></div>\n"


# `silent` asks whether the rule could end a paragraph; without an entry in `alt` it never does.
def _tabs(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - as called
    """Parse tabs: titles such as `=== "curl"`, each above its indented text."""
    found: list[tuple[str, str]] = []
    line = start
    while line < end and (title := TAB.fullmatch(_line(state, line))):
        first = line = line + 1
        while line < end and (state.isEmpty(line) or state.sCount[line] >= TAB_INDENT):
            line += 1
        found.append((title[1], state.getLines(first, line, TAB_INDENT, keepLastLF=True)))
    if found:
        _push_tabs(state, found)
        state.line = line
    return bool(found)


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] : state.eMarks[number]]


def _push_tabs(state: StateBlock, tabs: Sequence[tuple[str, str]]) -> None:
    """Add the tokens of tabs: a choice of one title, and the texts."""
    state.env["tabs"] += 1
    choices = "".join(
        f'<label><input type="radio" name="tabs-{state.env["tabs"]}" value="{escape(title)}"'
        f"{' checked' if number == 0 else ''}>{escape(title)}</label>"
        for number, (title, _) in enumerate(tabs)
    )
    head = '<fieldset class="tabs"><legend class="visually-hidden">Show for</legend>'
    state.push("html_block", "", 0).content = head + choices
    for _, text in tabs:
        state.push("html_block", "", 0).content = '<div class="tab">\n'
        state.md.block.parse(text, state.md, state.env, state.tokens)
        state.push("html_block", "", 0).content = "</div>\n"
    state.push("html_block", "", 0).content = "</fieldset>\n"


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.block.ruler.before("fence", "tabs", _tabs, {"alt": []})
    for name in CODE:
        parser.add_render_rule(name, _code)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    return parser


PARSER: Final = _parser()
