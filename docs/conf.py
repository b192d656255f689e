"""Sphinx's configuration: Markdown pages that read on GitHub as they are, made into a site by `make docs`."""

import sentry_trio

project = "sentry-trio"
version = release = sentry_trio.__version__
extensions = ["myst_parser"]
# The contents are a page of their own: a table of contents in index.md would be a block of code on GitHub.
root_doc = "contents"
html_theme = "furo"
html_title = f"sentry-trio {release}"
html_copy_source = False
myst_heading_anchors = 3
nitpicky = True
linkcheck_timeout = 20
linkcheck_retries = 2
# GitHub makes anchors by script, so that a reader without one does not find them.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]
