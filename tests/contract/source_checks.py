"""Checks on source text. Each takes text and names and returns a list of sentences, one a violation."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("torch", "jax", "numpy")

# layer: the layers that it may import from directly; the rest follows by transitivity
ARROWS = {
    "errors": (),
    "typing": (),
    "tree": ("errors", "typing"),
    "backend": ("tree",),
    "registry": ("backend",),
    "generic": ("registry",),
    "user_code": ("registry",),
    "ops": ("registry",),
    "constraints": ("ops",),
    "transforms": ("constraints",),
    "distributions": ("transforms",),
    "runtime": ("ops",),
    "params": ("runtime", "transforms"),
    "handlers": ("params", "distributions"),
    "primitives": ("handlers",),
    "poutine": ("primitives",),
    "optim": ("params",),
    "nn": ("primitives",),
    "infer": ("primitives", "optim", "nn", "user_code"),
    "contrib": ("infer", "generic", "poutine"),
    "testing": ("contrib",),
    "__main__": ("testing",),
}
ARRAY_LIBRARIES = {"numpy", "scipy", "autograd", "torch", "jax", "jaxlib", "optax"}
OWN_LIBRARIES = {
    "numpy": {"numpy", "scipy", "autograd"},
    "torch": {"numpy", "torch"},
    "jax": {"numpy", "jax", "optax"},
    "funsor": set(),
}
NATIVE_PARTS = {"distributions", "optim", "infer", "nn"}
CONTRACT_FOR_ARRAYS = {"errors", "typing", "tree", "backend"}
CONTRACT_FOR_NATIVE = {*CONTRACT_FOR_ARRAYS, "registry", "ops", "constraints", "transforms", "distributions", "params",
                       "runtime", "optim", "user_code"}  # fmt: skip
DANGEROUS_CALLS = {"eval", "exec", "torch.load", "torch.save", "numpy.save"}
# writes the source that it runs, from the calls that it has recorded
GENERATES_CODE = {"ppl_numpy.program"}
DANGEROUS_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def upstream(layer):
    """Return every layer to the left of ``layer``."""
    found = set()
    for other in ARROWS[layer]:
        found |= {other} | upstream(other)
    return found


def python_files(*folders):
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path):
    """Return the dotted name of a file under the root, its package root (``ppl`` or ``ppl_torch``) first."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "backends":
        parts = parts[2:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _statements(tree, inside_function=False):
    """Yield ``(node, inside_function)`` for all nodes, leaving out what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            continue
        yield node, inside_function
        deeper = inside_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _statements(node, deeper)


def imports(source, module, is_package=False):
    """Return ``(imported dotted names, line, inside a function)`` of each import; ``from a import b`` gives ``a.b``."""
    found = []
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node, late in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            found += [(f"{base}.{alias.name}", node.lineno, late) for alias in node.names]
    return found


def layer_of(dotted):
    """Return the layer of ``ppl.<layer>...``, or ``None`` for the package ``ppl`` itself."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ARROWS else None


def check_layers(source, module, is_package=False):
    """``ppl`` modules import from layers to their left only, never late, never an array library or a backend."""
    layer = layer_of(module)
    if layer is None and module != "ppl":
        return [f"{module}: belongs to no layer; add it to the list of DESIGN 2 and to ARROWS"]
    allowed = {layer} | upstream(layer) if layer else set(ARROWS)
    faults = []
    for name, line, late in imports(source, module, is_package):
        root = name.split(".")[0]
        where = f"{module}:{line}"
        if root in ARRAY_LIBRARIES and layer != "testing":
            faults.append(f"{where}: imports the array library {root}")
        elif root.startswith("ppl_"):
            faults.append(f"{where}: imports the backend package {root}")
        elif root == "ppl":
            target = layer_of(name)
            if target is None and layer is not None:
                faults.append(f"{where}: imports {name}, which is not a layer to the left of {layer}")
            elif target is not None and target not in allowed:
                faults.append(f"{where}: layer {layer} imports {name}, which stands to its right")
            # the package itself loads its heavier parts on first use, so that ``import ppl`` stays light
            if late and module != "ppl":
                faults.append(f"{where}: imports {name} inside a function")
    return faults


def check_backend_imports(source, backend, part):
    """A backend imports the contract, its own library and the standard library; never another backend, nothing late."""
    module = f"ppl_{backend}.{part}"
    contract = CONTRACT_FOR_NATIVE if part in NATIVE_PARTS else CONTRACT_FOR_ARRAYS
    faults = []
    for name, line, late in imports(source, module):
        root = name.split(".")[0]
        where = f"{module}:{line}"
        if root.startswith("ppl_") and root != f"ppl_{backend}":
            faults.append(f"{where}: imports another backend, {root}")
        elif root == "ppl" and layer_of(name) not in contract:
            faults.append(f"{where}: imports {name}, which is no contract module for {part}")
        elif root in ARRAY_LIBRARIES and root not in OWN_LIBRARIES[backend]:
            faults.append(f"{where}: imports {root}, which is not the library of {backend}")
        if late and root.split("_")[0] == "ppl":
            faults.append(f"{where}: imports {name} inside a function")
    return faults


def check_private_api(source, module):
    """No private name of torch, jax, numpy, scipy or autograd is used."""
    faults = []
    libraries = ARRAY_LIBRARIES
    for name, line, _ in imports(source, module):
        parts = name.split(".")
        if parts[0] in libraries and any(part.startswith("_") and not part.startswith("__") for part in parts[1:]):
            faults.append(f"{module}:{line}: imports the private {name}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            root = ast.unparse(node).split(".")[0]
            if root in libraries:
                faults.append(f"{module}:{node.lineno}: uses the private {ast.unparse(node)}")
    return faults


def check_dynamic_imports(source, module):
    """Name the uses of ``importlib.import_module`` and ``__import__``: a way around the arrows."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            faults.append(f"{module}:{node.lineno}: imports a module by a computed name")
    return faults


def check_cycles(edges):
    """Return one sentence for a circle among ``{module: modules it imports at its top}``, else an empty list."""
    state, path = {}, []

    def visit(module):
        state[module] = "open"
        path.append(module)
        for target in sorted(edges.get(module, ())):
            if state.get(target) == "open":
                return [" -> ".join([*path[path.index(target) :], target])]
            if target not in state:
                found = visit(target)
                if found:
                    return found
        path.pop()
        state[module] = "done"
        return []

    for module in sorted(edges):
        if module not in state:
            found = visit(module)
            if found:
                return found
    return []


def import_edges(sources):
    """Return ``{module: modules}`` from ``{module: (source, is_package)}``, a name resolved to the longest known module."""
    edges = {}
    for module, (source, is_package) in sources.items():
        targets = set()
        for name, _, late in imports(source, module, is_package):
            parts = name.split(".")
            known = [".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in sources]
            if known and not late and known[0] != module:
                targets.add(known[0])
        edges[module] = targets
    return edges


def check_safe_loading(source, module):
    """No pickle and nothing that unpickles or evaluates text."""
    faults = []
    for name, line, _ in imports(source, module):
        if name.split(".")[0] in DANGEROUS_MODULES:
            faults.append(f"{module}:{line}: imports {name}")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).replace("np.", "numpy.")
        if called in DANGEROUS_CALLS and not (called == "exec" and module in GENERATES_CODE):
            faults.append(f"{module}:{node.lineno}: calls {called}")
        if any(keyword.arg == "allow_pickle" for keyword in node.keywords):
            faults.append(f"{module}:{node.lineno}: passes allow_pickle")
    return faults


def check_size(source, name, limit=600):
    lines = source.count("\n") + (not source.endswith("\n"))
    return [f"{name}: {lines} lines, expected at most {limit}"] if lines > limit else []
