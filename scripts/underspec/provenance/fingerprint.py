"""A digest of the code that a stage runs, blind to comments, docstrings and layout.

Rules carry it as a parameter, so that editing a module that a stage uses reruns the stage and
editing a comment in it throws no pretrain away.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

# How a stage is called and how it fails is not what it computes.
NOT_COMPUTING = tuple(
    f"underspec/{name}.py" for name in ("command", "errors", "schema", "config/sections")
)


def fingerprint(root: Path, *files: Path) -> str:
    """Digest of `files` and of every module below `root` that they import, directly or not.

    The modules of NOT_COMPUTING, and what only they import, are left out.
    `import package.module` is package/module.py there. Anything else is installed, and the
    environments pin it.
    """
    found, pending = {root / name: "" for name in NOT_COMPUTING}, list(files)
    while pending:
        file = pending.pop()
        if file not in found:
            found[file], imported = _read(file)
            pending += [path for name in imported for path in _files(root, name)]
    lines = [f"{path.relative_to(root)} {found[path]}" for path in sorted(found)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@cache
def _read(file: Path) -> tuple[str, tuple[str, ...]]:
    """Digest of what `file` does, and the dotted names it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif _has_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(repr(_meaning(tree)).encode()).hexdigest(), tuple(imported)


def _meaning(node):
    """`node` as nested tuples. Empty fields are left out: newer Pythons add such to old code,
    and a new interpreter shall not rerun everything.
    """
    if isinstance(node, ast.AST):
        fields = [(name, _meaning(value)) for name, value in ast.iter_fields(node)]
        return type(node).__name__, *(field for field in fields if field[1] not in (None, []))
    return [_meaning(value) for value in node] if isinstance(node, list) else node


def _has_docstring(node: ast.AST) -> bool:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        return False
    first = node.body[0] if node.body else None
    return (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _files(root: Path, name: str) -> list[Path]:
    """The files that importing the dotted `name` runs, those of its packages included."""
    parts = name.split(".")
    paths = []
    for end in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:end])
        paths += [
            path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()
        ]
    return paths
