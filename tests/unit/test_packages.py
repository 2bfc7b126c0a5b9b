"""The packages of the library: who may import whom, and what needs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "scripts/underspec"
SHARED = "shared"  # the modules of `underspec` itself
# Each may import those before it, as docs/architecture.md says.
ORDER = [
    *(SHARED, "data", "models", "importers", "training", "inference", "architectures"),
    *("analysis", "alignment", "judging", "provenance", "config", "report", "monitoring"),
]
WITHOUT_TORCH = ["analysis", "judging", "provenance", "config", "report", "monitoring"]


def package(module: str) -> str:
    name = module.split(".")[0]
    return name if (LIBRARY / name).is_dir() else SHARED


def modules() -> dict[str, Path]:
    """Every module, by its name below `underspec`."""
    return {
        ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path
        for path in LIBRARY.rglob("*.py")
    }


def imported(path: Path) -> set[str]:
    """The modules of the library that a file names, below `underspec`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "underspec":
            below = node.module.removeprefix("underspec").lstrip(".")
            found |= {f"{below}.{name.name}".lstrip(".") for name in node.names}
    return found


def test_every_package_has_a_place():
    folders = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ORDER) - {SHARED}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_point_one_way(name):
    allowed = ORDER[: ORDER.index(package(name)) + 1]
    assert {package(other) for other in imported(modules()[name])} <= set(allowed)


def imported_by(statements: str, module: str) -> bool:
    code = f"import sys; {statements}; sys.exit(77 if {module!r} in sys.modules else 0)"
    status = subprocess.run([sys.executable, "-c", code], cwd=LIBRARY.parent).returncode
    assert status in (0, 77)
    return status == 77


def test_from_the_reward_matrix_on_nothing_needs_torch():
    names = [name for name in modules() if package(name) in WITHOUT_TORCH]
    imports = "; ".join(f"import underspec.{name.removesuffix('.__init__')}" for name in names)
    assert len(names) > 20 and not imported_by(imports, "torch")


def test_worlds_need_datasets_only_to_read():
    """The Snakefile imports them, also where datasets is not installed."""
    worlds = [name for name in modules() if name.startswith("data.worlds.")]
    imports = "; ".join(f"import underspec.{name.removesuffix('.__init__')}" for name in worlds)
    assert not imported_by(imports, "datasets")


def test_pretraining_starts_without_pandas():
    """A tenth of its start-up, which small experiments mostly consist of."""
    assert not imported_by("import pretrain", "pandas")


def test_training_and_sampling_need_no_pydantic():
    """The GPU check (tests/gpu) runs without it."""
    assert not imported_by(
        "import underspec.training.loop, underspec.inference.scoring", "pydantic"
    )
