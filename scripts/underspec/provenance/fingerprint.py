"""A digest of the code that a stage runs, which ignores comments, docstrings and formatting.

Rules have it as a param. So editing code that a stage uses reruns the stage, but editing a comment
does not.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

# How a stage is called and how it fails does not change its results.
IGNORED = tuple(
    f"underspec/{name}.py" for name in ("command", "errors", "schema", "recipe", "config/sections")
)


def fingerprint(root: Path, *files: Path) -> str:
    """A digest of `files` and of every module below `root` that they import, directly or not.

    The modules in IGNORED, and modules that only they import, are left out. Installed packages are
    not included; the environments pin them.
    """
    ignored = {root / name for name in IGNORED}
    found, pending = {}, list(files)
    while pending:
        file = pending.pop()
        if file not in found and file not in ignored:
            found[file], imported = _read(file)
            pending += [path for name in imported for path in _files(root, name)]
    lines = [f"{path.relative_to(root)} {found[path]}" for path in sorted(found)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def _read(file: Path) -> tuple[str, tuple[str, ...]]:
    """A digest of the code in `file`, and the dotted names that it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif _has_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(repr(_as_tuples(tree)).encode()).hexdigest(), tuple(imported)


def _as_tuples(node):
    """`node` as nested tuples, without empty fields: newer versions of Python add such fields, and
    a new interpreter should not rerun everything.
    """
    kind = type(node)
    if kind is list:
        return [_as_tuples(value) for value in node]
    if not issubclass(kind, ast.AST):
        return node
    values = node.__dict__  # of all nodes, a third of the time that getattr takes
    fields = [
        (name, _as_tuples(value))
        for name in kind._fields
        if (value := values.get(name)) is not None and value != []
    ]
    return kind.__name__, *fields


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        return False
    first = node.body[0] if node.body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


@cache
def _files(root: Path, name: str) -> list[Path]:
    """The files that importing the dotted `name` runs, including those of its packages."""
    parts = name.split(".")
    paths = []
    for end in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:end])
        paths += [
            path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()
        ]
    return paths
