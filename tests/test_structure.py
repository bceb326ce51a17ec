"""The rooms of the house: who may import whom, which library is used where, how large they are."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES, MOST_FILES = 320, 12  # of a file; of a room, its `__init__.py` and `conftest.py` apart

MODEL = "selfrepair_assets/measurement/model"
FOLDED = f"{MODEL}/folded_model.py"  # the frame of switches that families are read into
PRODUCTS = "selfrepair_assets/measurement/products"
FORECAST = "selfrepair_assets/measurement/forecast"
MEASUREMENT = {
    *("selfrepair_assets/measurement", "selfrepair_assets/measurement/engine", MODEL),
    *(FOLDED, PRODUCTS),
}
STORE = {"warehouse", "warehouse/facts", "warehouse/published"}
MEASURED = MEASUREMENT | {
    "selfrepair/errors.py",
    "selfrepair_assets",
    "selfrepair_assets/measurement/text",
    FORECAST,
}
STEPS = {"selfrepair_assets/steps", "selfrepair_assets/steps/sharded"}
WORKERS = "selfrepair_assets/steps/workers"
WORDS = {"app/questions", "app/wording", "selfrepair_assets/measurement"}
DRAWN = {"app/charts", "app/figures"}
ROOMS: dict[str, set[str]] = {
    "selfrepair/errors.py": set(),
    "sql": set(),
    "selfrepair_assets/measurement": {"selfrepair/errors.py"},
    "selfrepair/extras.py": {"selfrepair_assets/measurement"},
    PRODUCTS: {"selfrepair_assets/measurement"},
    FOLDED: {PRODUCTS},
    f"{MODEL}/families": {"selfrepair_assets/measurement", FOLDED, PRODUCTS},
    MODEL: {"selfrepair_assets/measurement", FOLDED, f"{MODEL}/families", PRODUCTS},
    "selfrepair_assets/measurement/text": {"selfrepair_assets/measurement"},
    "selfrepair_assets/measurement/engine": {*MEASUREMENT, "selfrepair/errors.py"},
    FORECAST: MEASUREMENT | {"selfrepair_assets/measurement/text"},
    "warehouse": {"selfrepair/errors.py"},
    "warehouse/facts": {"warehouse"},
    "warehouse/published": {"warehouse", "warehouse/facts"},
    "selfrepair_assets": set(),
    "selfrepair_assets/bench": MEASURED,
    "selfrepair_assets/steps/sharded": MEASURED | {"warehouse", "warehouse/facts"},
    "selfrepair_assets/steps": MEASURED | STORE | {"selfrepair_assets/steps/sharded"},
    WORKERS: MEASURED | STORE | STEPS,
    "selfrepair_assets/assets": MEASURED | STORE | STEPS | {WORKERS},
    "selfrepair/exchange": MEASURED | STORE | STEPS,
    "app/console": set(),
    "app/questions": STORE | {"selfrepair_assets/measurement"},
    "app/wording": {"app/questions", "selfrepair_assets/measurement"},
    "app/charts": {"app/wording", "selfrepair_assets/measurement"},
    "app/figures": WORDS | {"app/charts", "warehouse"},
    "selfrepair/paper": WORDS | {"app/charts", "app/figures", "warehouse"},
    "app/page_parts": WORDS
    | {"app/charts", "app/figures", "warehouse", "selfrepair/paper", "selfrepair/extras.py"},
    "app/app_pages": WORDS | STORE | DRAWN | {"app/console", "app/page_parts"},
    "app": {"app/page_parts", "app/questions", "warehouse"},
    "selfrepair/names.py": set(),
    "selfrepair/library": MEASURED
    | STORE
    | {"app/figures", "app/questions", "selfrepair/paper"}
    | {"selfrepair/extras.py", "selfrepair/names.py"},
    "dagster_project": STORE | {"selfrepair_assets/assets"},
    "dagster_project/cli": MEASURED
    | STORE
    | STEPS
    | {WORKERS, "selfrepair_assets/assets", "app/figures", "app/wording", "dagster_project"}
    | {"selfrepair/exchange", "selfrepair/extras.py", "selfrepair/library"}
    | {"selfrepair_assets/bench"},
    "selfrepair/library/measuring.py": MEASURED
    | STORE
    | STEPS
    | {"dagster_project/cli", "selfrepair/library"},
    "selfrepair": {
        *("selfrepair/library", "selfrepair/library/measuring.py", "selfrepair/paper"),
        "dagster_project/cli",
    },
}
"""Each room with those that it may import: rooms before it alone, so that no arrow goes up.

A file that stands here by its own name is a room of its own.
"""

LIBRARIES = {
    "dagster": r"dagster_project.*|selfrepair_assets/assets",
    "click": r"dagster_project/cli",
    "torch": (
        r"selfrepair_assets/"
        r"(bench|measurement|measurement/(model|engine|forecast|products)(/.*)?|steps(/workers)?)"
    ),
    "ray": r"selfrepair_assets/steps/workers",
    "transformers": r"selfrepair_assets/(bench|measurement/model(/families)?)",
    "transformer_lens": r"selfrepair_assets/measurement/model",
    "duckdb": r"warehouse.*|app(/questions|/console)?|selfrepair_assets/assets|dagster_project/cli"
    r"|selfrepair/(library|exchange)",
    "matplotlib": r"selfrepair/paper",
    "plotly": r"app/(charts|figures|page_parts|app_pages)|selfrepair/(library|paper)",
    "streamlit": r"app|app/(questions|page_parts|app_pages)",
}
"""The rooms that may import a library."""

LARGE: dict[str, str] = {}
"""Rooms of more files than `MOST_FILES`, and why each is one room all the same."""


def _files(*patterns: str) -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(file for file in listed.stdout.split() if (ROOT / file).is_file())


FILES = _files("*.py")
MODULES = {  # by the name that the file is imported under
    ("" if file.startswith("selfrepair") else "selfrepair.")
    + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file
    for file in FILES
    if not file.startswith("tests/")
}


def _room(file: str) -> str:
    return file if file in ROOMS else str(Path(file).parent)


def _imported(file: str) -> set[str]:
    """Dotted names that a file imports, at its top or anywhere else."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file}: a relative import"
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                names.add(full_name if full_name in MODULES else node.module)
    return names


IMPORTED = {file: _imported(file) for file in MODULES.values()}
ARROWS = {
    file: {
        MODULES[name]
        for name in names & MODULES.keys()
        if not MODULES[name].endswith("__init__.py")  # which has a sentence, and is above its files
    }
    - {file}
    for file, names in IMPORTED.items()
}


def test_rooms_import_only_rooms_below() -> None:
    below: set[str] = set()
    for room, may_import in ROOMS.items():
        assert may_import - {room} <= below, f"{room} is to import a room that is not before it"
        below.add(room)
    assert {_room(file) for file in MODULES.values()} == set(ROOMS), "each room has its place"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    found = defaultdict(list)
    for file, imported in ARROWS.items():
        for other in imported:
            if _room(file) == room:
                found[_room(other)].append(f"{file} imports {other}")
    assert [arrow for other in found.keys() - {room} - ROOMS[room] for arrow in found[other]] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_used_in_its_rooms(library: str) -> None:
    users = {
        file
        for file, names in IMPORTED.items()
        if any(name.split(".")[0] == library for name in names)
    }
    assert users
    assert [file for file in users if not re.fullmatch(LIBRARIES[library], _room(file))] == []


def test_a_file_is_read_in_one_sitting() -> None:
    lines = {file: len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file: n for file, n in lines.items() if n > MOST_LINES} == {}


def test_a_room_is_seen_at_a_glance() -> None:
    counts = Counter(
        str(Path(file).parent)
        for file in FILES
        if Path(file).name not in ("__init__.py", "conftest.py")
    )
    large = {room: n for room, n in counts.items() if n > MOST_FILES}
    assert large.keys() == LARGE.keys(), f"rooms of more than {MOST_FILES} files: {large}"


@pytest.mark.parametrize("init", [file for file in MODULES.values() if "__init__" in file])
def test_a_room_says_what_lives_in_it(init: str) -> None:
    tree = ast.parse((ROOT / init).read_text(encoding="utf-8"))
    assert len((ast.get_docstring(tree) or "").split()) >= 10
