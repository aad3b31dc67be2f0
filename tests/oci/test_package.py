from __future__ import annotations

import subprocess
import sys

import layerview.oci


def test_the_public_names_are_sorted_and_there() -> None:
    names = layerview.oci.__all__
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if name[0].isupper() and not name.isupper()]
    functions = [name for name in names if name[0].islower()]
    assert names == sorted(constants) + sorted(classes) + sorted(functions)
    assert all(hasattr(layerview.oci, name) for name in names)


def test_reading_formats_imports_nothing_heavy() -> None:
    script = "import sys, layerview.oci; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"pydantic", "textual", "rich", "click", "asyncio", "aiofiles", "tarfile", "numpy"}
    assert not heavy & set(loaded)
