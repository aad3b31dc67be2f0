from __future__ import annotations

import subprocess
import sys


def test_reading_formats_imports_nothing_heavy() -> None:
    script = (
        "import sys, pkgutil, importlib, layerview.oci as oci\n"
        "names = [each.name for each in pkgutil.iter_modules(oci.__path__)]\n"
        "for name in names: importlib.import_module(f'layerview.oci.{name}')\n"
        "print(len(names), *sys.modules)"
    )
    count, *loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    heavy = {"pydantic", "textual", "rich", "click", "asyncio", "aiofiles", "tarfile", "numpy"}
    assert int(count) > 5
    assert not heavy & set(loaded)
