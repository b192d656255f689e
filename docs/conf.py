"""Sphinx's configuration: Markdown pages that read on GitHub as they are, made into a site by `make docs`."""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import sentry_trio

sys.path.insert(0, str(Path(__file__).parent))

import diagrams

project = "sentry-trio"
version = release = sentry_trio.__version__
extensions = ["myst_parser", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"sentry-trio {release}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
# Blocks marked `text` show output and pictures: nothing to paste.
copybutton_selector = "div.highlight:not(.highlight-text *) pre"
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
nitpicky = True
linkcheck_timeout = 20
linkcheck_retries = 2
# GitHub makes anchors by script, so that a reader without one does not find them.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]


class Mermaid(SphinxDirective):
    """Draws a diagram when the site is built."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Returns the drawing."""
        try:
            svg = diagrams.draw("\n".join(self.content))
        except diagrams.DiagramError as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", svg, format="html")]


def add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Makes the lists of index.md the navigation. As directives in the file, they would be blocks of code on GitHub."""
    if page != "index":
        return
    lists = source[0].partition("\n## ")[0].split("\n**")[1:]
    for text in lists:
        caption = text.partition("**")[0]
        pages = "\n".join(re.findall(r"\]\(([\w-]+)\.md\)", text))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Registers the directive and the navigation."""
    app.add_directive("mermaid", Mermaid)
    app.connect("source-read", add_navigation)
