"""Sphinx: Furo, MyST for the pages in Markdown, and the reference from the product itself (generated.py)."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "Consilience"
author = "the Consilience authors"
copyright = author
release = version = version_of("consilience")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "generated"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["schemas"]
html_theme = "furo"
html_title = "Consilience"
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings write `name`
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {name: name for name in ("ImageSource", "Features", "Vectors", "Verdict", "Stage")}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

# Types of other libraries, and of our own that have no entry in the reference, are shown without a link.
nitpick_ignore_regex = [("py:.*", ".*")]
