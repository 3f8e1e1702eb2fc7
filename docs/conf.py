"""Settings of the documentation site, which ``python docs/build_site.py`` builds."""

import builtins
import importlib
import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.nodes import make_refnode

import ppl

project = html_title = "ppl"
release = version = ppl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
nitpicky = True

html_theme = "furo"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1d5b8f", "color-brand-content": "#1d5b8f"},
    "dark_css_variables": {"color-brand-primary": "#7db8e8", "color-brand-content": "#7db8e8"},
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = html_copy_source = html_show_copyright = html_show_sphinx = False
html_math_renderer = "mathml"
html_use_index = True
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = True
add_module_names = False
toc_object_entries_show_parents = "hide"


def show_formula(translator, node):
    r"""Write a formula as MathML, which browsers draw without a script; ``\Big[`` is spelled as the converter knows it."""
    text = re.sub(r"\\([Bb]ig)(?=[\[(|])", r"\\\1l", re.sub(r"\\([Bb]ig)(?=[\])])", r"\\\1r", node.astext()))
    translator.body.append(tex2mathml(text, as_block=node.tagname == "math_block"))
    raise nodes.SkipNode


def names_something(target, module):
    """Whether a dotted name leads to an object, as it stands or from a module."""
    for start in ("", f"{module}." if module else ""):
        parts = (start + target).split(".")
        for depth in range(len(parts), 0, -1):
            try:
                value = importlib.import_module(".".join(parts[:depth]))
                for name in parts[depth:]:
                    value = getattr(value, name)
            except (ImportError, AttributeError):
                continue
            return True
    return False


def find_by_last_name(app, env, node, contnode):
    """Link ``BackendError`` to ``ppl.errors.BackendError``.

    What has no entry of its own stands as plain text: a name of Python's, an attribute, an object inside the library. A name of
    nothing stays a warning.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip("~.")
    name = target.rpartition(".")[2]
    objects = env.domains["py"].objects
    found = [path for path in objects if path.rpartition(".")[2] == name]
    if found and (target == name or node["reftype"] not in ("attr", "meth")):
        best = min(found, key=lambda path: (objects[path].objtype == "data", path.count("."), path))
        return make_refnode(app.builder, node["refdoc"], objects[best].docname, objects[best].node_id, contnode)
    inside = node["reftype"] in ("attr", "meth", "data", "const")
    if inside or hasattr(builtins, target.split(".")[0]) or names_something(target, node.get("py:module")):
        return contnode
    return None


def setup(app):
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    app.connect("missing-reference", find_by_last_name)
