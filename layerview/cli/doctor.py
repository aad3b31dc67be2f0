"""`layerview doctor`: what this machine allows, and whether the storage area is sound."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from layerview.cli.area import add_area_options, in_area, say
from layerview.cli.options import TerminalProgress, parser
from layerview.cli.output import print_json
from layerview.errors import LayerviewError, NotFoundError
from layerview.store.area import Area, default_root
from layerview.store.check import AreaCheck, Check, repair
from layerview.text import printable


def run(words: Sequence[str]) -> int:
    """Check the machine and the area."""
    made = parser(
        "doctor",
        "Say what this machine allows, and check every file and digest of the storage area.",
        example="layerview doctor --repair",
        reads=False,
    )
    made.add_argument("--repair", action="store_true", help="put right what is safe to put right")
    add_area_options(made, driver=False)
    arguments = made.parse_args(words)
    if os.geteuid() != 0:
        from layerview.containers.machine import users_problem

        if users_problem() is not None:
            # Nothing else works then; what there is to say can be said all the same.
            arguments.root = os.path.abspath(arguments.root) if arguments.root else default_root()
            return _doctor(arguments)
    return in_area(arguments, lambda: _doctor(arguments))


def _doctor(arguments: argparse.Namespace) -> int:
    progress = TerminalProgress()
    checks = _area_checks(arguments, progress)
    progress.clear()
    ok = all(check.ok for check in checks)
    machine = _machine(arguments.root)
    if arguments.json:
        print_json({"ok": ok, "checks": [_fields(check) for check in [*checks, *machine]]})
        return 0 if ok else 1
    for check in [*machine, *checks]:
        mark = "ok" if check.ok else "--" if check in machine else "WRONG"
        print(f"{mark:<5}  {printable(check.name)}: {printable(check.found)}")
        if check.remedy:
            print(f"       -> {printable(check.remedy)}")
    return 0 if ok else 1


def _fields(check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "ok": check.ok,
        "found": check.found,
        "remedy": check.remedy or None,
    }


def _area_checks(arguments: argparse.Namespace, progress: TerminalProgress) -> list[Check]:
    try:
        place = Area.open(arguments.root)
    except NotFoundError as error:
        if not os.path.lexists(arguments.root):
            return [Check("area", True, f"there is none at {arguments.root} yet")]
        return [Check("area", False, str(error))]
    except LayerviewError as error:
        return [Check("area", False, str(error))]
    check = AreaCheck(place, progress)
    checks = check.run()
    if arguments.repair:
        for line in repair(place, checks, say):
            say(f"repaired: {line}")
        checks = check.run()
    return checks


def _machine(root: str) -> list[Check]:
    from layerview.containers.machine import ids_problem, users_problem
    from layerview.containers.runtimes import probe_runtimes
    from layerview.drivers.probe import probe

    limit, way = users_problem() or ("ordinary users may have user namespaces", "")
    reason, remedy = ids_problem() or ("the users of images have IDs here", "")
    return [
        *(
            Check(f"machine: driver {each.name}", each.works, each.reason, each.remedy)
            for each in probe(root)
        ),
        *(
            Check(f"machine: runtime {each.name}", each.works, each.reason, each.remedy)
            for each in probe_runtimes(os.path.join(root, "layerview"))
        ),
        Check("machine: user namespaces", not way, limit, way),
        Check("machine: user IDs", not remedy, reason, remedy),
    ]
