"""The code of a run: a notebook's cells and those modules of this package that they import, directly or not.

Code is compared by its syntax tree, so neither comments, docstrings and layout nor prose and outputs of a notebook make
another run of a run; nor do cells that a sweep leaves out. Versions of libraries are those that can change a result, of
the libraries that are imported.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from digit_utils.files import package_versions, sha256_of
from digit_utils.notebook.execute import DEMONSTRATION, PACKAGE

OWN = PACKAGE.name
DATA_SUFFIXES = (".json", ".npz")  # of the package's files that count for the modules that name them
LAZY = "__getattr__"  # of a package: what it imports there counts only for those who ask for that name
# What can change a result, by the name under which it is imported.
DECIDING = {
    **{"numpy": ("numpy",), "cv2": ("opencv-python-headless", "opencv-python"), "sklearn": ("scikit-learn",)},
    **{name: (name,) for name in ("keras", "tensorflow", "torch", "jax")},
}
MAGIC = re.compile(r"^([ \t]*)([%!].*)$", re.MULTILINE)  # a line for IPython, such as `%matplotlib inline`
Imports = tuple[tuple[str, str], ...]  # pairs of a module and a name taken from it, which may be a module; or ""


def code_of_notebook(path: Path) -> dict[str, str]:
    """Return the hashes of a notebook's own code and of what it imports of this package, as they are on the disk."""
    package = hashlib.sha256()
    modules = modules_of(path)
    for name in sorted(modules):
        package.update(f"{name} {_parsed(modules[name])[0]}\n".encode())
    texts = {text for module in modules.values() for text in _parsed(module)[3]}
    for data in sorted(PACKAGE.rglob("*")):
        if data.suffix in DATA_SUFFIXES and data.name in texts:
            package.update(f"{data.name} {sha256_of(data)}\n".encode())
    return {"notebook": _parsed(path)[0], "package": package.hexdigest()}


def modules_of(notebook: Path) -> dict[str, Path]:
    """Return the files of this package's modules that a notebook imports, directly or not, by the modules' names."""
    found: dict[str, Path] = {}
    waiting = list(_parsed(notebook)[1])
    seen = set(waiting)
    while waiting:
        module, name = waiting.pop()
        more: list[tuple[str, str]] = []
        for place in _with_parents(f"{module}.{name}" if name else module):
            path = _file_of(place)
            if path and place not in found:
                found[place] = path
                more += _parsed(path)[1]
        if (path := _file_of(module)) and not _file_of(f"{module}.{name}"):
            more += [(m, n) for m, n in _parsed(path)[2] if name in ("", n)]
        waiting += [one for one in more if one not in seen]
        seen |= set(more)
    return found


def deciding_versions(notebook: Path) -> dict[str, str]:
    """Return the versions of the libraries that can change a notebook's result, and the backend that Keras uses."""
    paths = [notebook, *modules_of(notebook).values()]
    roots = {module.partition(".")[0] for path in paths for module, _ in _parsed(path)[1]}
    backend = {}
    if "keras" in roots:
        backend = {"backend": _backend_of_keras()}
        roots.add(backend["backend"])
    versions = package_versions(*(name for root in roots for name in DECIDING.get(root, ())))
    del versions["python"]
    return backend | versions


def _backend_of_keras() -> str:
    """Return the backend that Keras would choose, without importing it."""
    if chosen := os.environ.get("KERAS_BACKEND"):
        return chosen
    try:
        folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        return json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, LookupError, TypeError):
        return "tensorflow"


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)) if parts[0] == OWN)


def _file_of(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    places = (base.with_name(f"{base.name}.py"), base / "__init__.py") if module.partition(".")[0] == OWN else ()
    return next((place for place in places if place.is_file()), None)


def _parsed(path: Path) -> tuple[str, Imports, Imports, frozenset[str]]:
    """Return of a module or notebook: the hash of its code, its imports, its lazy ones, and its texts."""
    status = path.stat()
    return _parse(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1000)
def _parse(path: Path, changed: int, size: int) -> tuple[str, Imports, Imports, frozenset[str]]:
    """Read a file; when it was changed, and its size, tell whether it has to be read again."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        sources = [text]
    else:
        cells = json.loads(text)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if _counts(cell)]
    digest = hashlib.sha256()
    imports, lazy, texts = [], [], set()
    for source in sources:
        try:
            tree = ast.parse(MAGIC.sub(r"\1pass", source))
        except SyntaxError:  # another language's cell
            digest.update(f"{source}\0".encode())
            continue
        digest.update(f"{_code_alone(tree)}\0{MAGIC.findall(source)}\0".encode())
        imports += _imports(tree, lazy=False)
        lazy += _imports(tree, lazy=True)
        texts |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str}
    return digest.hexdigest(), tuple(imports), tuple(lazy), frozenset(texts)


def _counts(cell: dict) -> bool:
    """Tell whether a notebook's cell is run in a sweep."""
    return cell["cell_type"] == "code" and DEMONSTRATION not in cell["metadata"].get("tags", ())


def _code_alone(tree: ast.Module) -> str:
    """Return code without comments, docstrings and layout. Not `ast.dump`, which depends on Python's version."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _imports(tree: ast.Module, *, lazy: bool) -> Iterator[tuple[str, str]]:
    """Return what is imported outside of `__getattr__`, or within it; functions' own imports count."""
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name == LAZY
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if (node in inside) is lazy and isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif (node in inside) is lazy and isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
