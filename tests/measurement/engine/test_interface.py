"""An engine stands alone: the slow one is held against the fast one, and must not be made of it."""

import ast
from importlib import resources

ENGINE = "selfrepair_assets.measurement.engine"


def imported_by(module: str) -> set[str]:
    """The modules of the engine's room that a module imports, and those that these import."""
    tree = ast.parse(resources.files(ENGINE).joinpath(f"{module}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ENGINE):
            within = str(node.module).removeprefix(ENGINE).removeprefix(".")
            found |= {within} if within else {alias.name for alias in node.names}
    return found.union(*map(imported_by, found))


def test_neither_engine_is_made_of_the_other() -> None:
    fast = imported_by("perturbation")
    slow = imported_by("hooked")
    assert {"change", "clean_run", "self_reinforcement"} <= fast
    assert slow == {"interface", "kept_details", "results"}
    assert "hooked" not in fast
