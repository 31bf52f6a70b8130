"""Markdown as HTML: what is more than CommonMark, and what must not pass."""

from service.guide.markdown import Document, render, render_text, title_of


def rendered(text: str) -> Document:
    """Return a text whose links keep their addresses, but for those that begin with `no`."""
    return render(text, lambda target: None if target.startswith("no") else target)


BLOCK = '<figure class="code"><pre><code>'


def test_markup_in_a_text_is_shown() -> None:
    """HTML and scripts are text, and a link cannot run code."""
    html = rendered("<b>x</b> <script>alert(1)</script>\n\n[x](javascript:alert(1)) \"'").html
    assert "<script" not in html
    assert "<b>" not in html
    assert "href" not in html
    assert "&lt;script&gt;" in html


def test_headings_have_anchors_and_links() -> None:
    """Anchors as GitHub makes them; those of equal headings differ."""
    document = rendered(
        "# A\n\n## Use `x_y`, then *z*\n\none\ntwo\n\n## Same\n\n## Same\n\n## Same\n"
    )
    anchors = [section.heading.anchor for section in document.sections]
    assert anchors == ["a", "use-x_y-then-z", "same", "same-1", "same-2"]
    assert '<h2 id="same-1">' in document.html
    assert document.html.count('class="permalink"') == 4  # the title of a page has none
    assert '<a class="permalink" href="#same-2" aria-label="Link to Same">#</a>' in document.html
    assert document.sections[1].heading.text == "Use x_y, then z"
    assert document.sections[1].text == "one two"


def test_text_before_a_heading_belongs_to_no_section() -> None:
    """It is rendered, and the search does not know it."""
    document = rendered("intro\n\n## A\n\nb\n\n```python\nc = 1\n```\n\n    d\n")
    assert [section.text for section in document.sections] == ["b c = 1 d"]
    assert "intro" in document.html


def test_code_has_colours_and_a_title() -> None:
    """By classes, not styles; a block without a language is plain."""
    html = rendered('```python title="a<b.py"\ndef f(): return "<&"\n```\n').html
    assert "<figcaption>a&lt;b.py</figcaption>" in html
    assert '<span class="k">def</span>' in html
    assert "&lt;&amp;" in html
    assert "style=" not in html
    for plain in ("```\nx < y\n```\n", "    x < y\n"):
        assert rendered(plain).html == f"{BLOCK}x &lt; y</code></pre></figure>\n"


def test_a_table_scrolls_in_itself() -> None:
    """It stands in an element of its own."""
    html = rendered("| a | b |\n| --- | --- |\n| 1 | `x|y` |\n").html
    assert '<div class="wide"><table>' in html
    assert html.rstrip().endswith("</table></div>")


def test_an_aligned_column_has_a_class() -> None:
    """The policy of the pages forbids styles."""
    html = rendered("| a | b |\n| ---: | --- |\n| 1 | 2 |\n").html
    assert '<td class="text-align-right">1</td>' in html
    assert "<td>2</td>" in html
    assert "style" not in html


def test_links() -> None:
    """Links to other hosts send no referrer; a link without an address becomes its text."""
    html = rendered("[a](no.md) ![p](i.png) [b](b.md#c) <https://x.test/>, [d `e`](no)").html
    assert "<p>a <img" in html
    assert 'src="i.png"' in html
    assert '<a href="b.md#c">b</a>' in html
    assert '<a href="https://x.test/" rel="noreferrer">https://x.test/</a>' in html
    assert "d <code>e</code></p>" in html


TABS = """\
Before.

=== "curl"

    ```bash
    a
    ```

    text

=== "Python"

    ```python
      b
    ```

After.
"""


def test_tabs_are_a_choice() -> None:
    """One title is chosen, the indented texts follow; another group has another name."""
    document = rendered(f"## A\n\n{TABS}\n{TABS}")
    assert document.html.count("<fieldset") == document.html.count("</fieldset>") == 2
    assert document.html.count(" checked") == 2
    assert 'name="tabs-1" value="Python">Python</label>' in document.html
    assert 'name="tabs-2"' in document.html
    assert document.html.count('<div class="tab">') == 4
    assert "<p>text</p>" in document.html
    assert "<p>After.</p>" in document.html
    assert document.sections[0].text == "Before. a text b After. Before. a text b After."
    assert "===" not in document.html


def test_a_line_like_a_tab_in_a_text_stays() -> None:
    """Tabs begin after a blank line."""
    assert render_text('a === "b"\n') == "<p>a === &quot;b&quot;</p>\n"
    assert "fieldset" not in render_text('- x\n=== "b"\n')


def test_the_title_of_a_page() -> None:
    """Its first line, as plain text."""
    assert title_of("# Use `x`\n\n## B\n") == "Use x"
