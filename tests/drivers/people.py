"""Running Python as an ordinary user, who may read neither this checkout nor root's interpreter."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
PACKAGES = ["fastcrc", "isal", "backports", "pytest", "_pytest", "pluggy", "iniconfig", "packaging"]
PACKAGES += ["pygments", "py", "watchfiles", "anyio", "idna", "sniffio", "typing_extensions"]


def user(name: str) -> str:
    """Return an ordinary user's name; skip where it is missing or cannot be become."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    try:
        pwd.getpwnam(name)
    except KeyError:
        pytest.skip(f"there is no user {name}")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    return name


@contextmanager
def everybodys_fuse() -> Iterator[None]:
    """Have /dev/fuse open to everybody, as udev makes it, where there is one."""
    device = "/dev/fuse"
    if not os.path.exists(device):
        yield
        return
    before = stat.S_IMODE(os.stat(device).st_mode)
    os.chmod(device, 0o666)
    try:
        yield
    finally:
        os.chmod(device, before)


@cache
def _version() -> str:
    asked = "import sys; print(sys.version_info[:2])"
    try:
        done = subprocess.run([PYTHON, "-c", asked], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


@contextmanager
def readable_site() -> Iterator[Path]:
    """Copy layerview, its tests and what they import into a folder that everybody may read.

    It is none of pytest's: that shuts its folder of temporary files whenever it starts.
    """
    if _version() != str(sys.version_info[:2]):
        pytest.skip(f"{PYTHON} is not of this version: compiled packages cannot be shared")
    # Compiled files come too: else each process would compile anew whatever it imports.
    leave_out = shutil.ignore_patterns("*.pyc.*")
    with tempfile.TemporaryDirectory(prefix="layerview-site-") as made:
        site = Path(made)
        for name in PACKAGES:
            found = importlib.util.find_spec(name)
            places = list(found.submodule_search_locations or ()) if found else []
            for place in places:
                shutil.copytree(place, site / name, ignore=leave_out)
            if found is not None and found.origin is not None and not places:
                shutil.copy(found.origin, site)
        for name in ("layerview", "tests"):
            shutil.copytree(ROOT / name, site / name, ignore=leave_out)
        (site / "tests/conftest.py").unlink()
        (site / "pytest.ini").write_text(
            "[pytest]\nmarkers = conformance\nfilterwarnings = error\n"
        )
        compiling = [PYTHON, "-m", "compileall", "-q", str(site / "layerview")]
        subprocess.run(compiling, check=True)
        subprocess.run(["chmod", "-R", "a+rX", made], check=True)
        yield site


def as_user(
    name: str, site: Path, *words: str, timeout: float = 600, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run Python's words as a user, with nothing but the site in its path."""
    home = pwd.getpwnam(name).pw_dir
    return subprocess.run(
        [
            *("setpriv", "--reuid", name, "--regid", name, "--init-groups", "--reset-env"),
            *("env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin"),
            *(f"PYTHONPATH={site}", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8"),
            *(f"{key}={value}" for key, value in more.items()),
            *(PYTHON, *words),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=site,
    )


def as_each(
    names: Sequence[str],
    site: Path,
    words: Callable[[str], Sequence[str]],
    timeout: float = 600,
) -> list[subprocess.CompletedProcess[str]]:
    """Run Python as several users at once, each with words of their own, in their order."""

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return as_user(name, site, *words(name), timeout=timeout)

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(run, names))
