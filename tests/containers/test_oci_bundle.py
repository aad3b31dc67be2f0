"""What runtimes are told is what layerview's own launcher does."""

from __future__ import annotations

from typing import Any

import pytest

from layerview.containers import privileges, rootfs, seccomp
from layerview.containers.oci_bundle import CAPABILITIES, Place, config
from layerview.containers.plan import Bind, Plan

PLAN = Plan(
    id="1" * 64,
    folder="/area/containers/1",
    run="/area/layerview/run/1",
    mount_id="",
    log="",
    args=("sh", "-c", "exit"),
    env=(),
    hostname="box",
    runtime="runc",
)
PLACE = Place("/merged", (), False, True, (1024, 4096))
NUMBERS = {
    "AUDIT_WRITE": 29,
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "MKNOD": 27,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SETFCAP": 31,
    "SETGID": 6,
    "SETPCAP": 8,
    "SETUID": 7,
    "SYS_CHROOT": 18,
}
"""capabilities(7), linux/capability.h."""


def make(plan: Plan = PLAN, place: Place = PLACE, **more: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"uid": 0, "gid": 0, "groups": (), "env": {"A": "1=2"}, **more}
    return config(plan, place, **settings)


def mounts(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in made["mounts"]}


def kinds(made: dict[str, Any]) -> set[str]:
    return {namespace["type"] for namespace in made["linux"]["namespaces"]}


def test_the_process_is_the_plan_s() -> None:
    plan = PLAN._replace(cwd="/work", tty=True, rows=30, columns=99)
    process = make(plan, uid=1000, gid=1001, groups=(1001, 50))["process"]
    assert process["args"] == ["sh", "-c", "exit"]
    assert process["env"] == ["A=1=2"]
    assert process["cwd"] == "/work"
    assert process["user"] == {"uid": 1000, "gid": 1001, "additionalGids": [1001, 50]}
    assert process["terminal"] is True
    assert process["consoleSize"] == {"height": 30, "width": 99}
    # As they are: a runtime written in Go would raise its own, and pass that on.
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]


def test_the_capabilities_are_the_launcher_s() -> None:
    assert {NUMBERS[name.removeprefix("CAP_")] for name in CAPABILITIES} == set(privileges.KEPT)
    root, other = (make(uid=uid)["process"]["capabilities"] for uid in (0, 1000))
    assert root["permitted"] == root["effective"] == root["bounding"] == list(CAPABILITIES)
    assert other["bounding"] == list(CAPABILITIES)
    assert other["permitted"] == other["effective"] == []
    for each in (root, other):
        assert each["inheritable"] == each["ambient"] == []


def test_what_is_hidden_and_denied_is_the_launcher_s() -> None:
    made = make()["linux"]
    assert made["maskedPaths"] == [f"/{path}" for path in rootfs.MASKED]
    assert made["readonlyPaths"] == [f"/{path}" for path in rootfs.READ_ONLY]
    rules = made["seccomp"]["syscalls"]
    assert made["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"
    refused = next(rule for rule in rules if "mount" in rule["names"])
    assert set(seccomp.DENIED) < set(refused["names"])
    assert (refused["action"], refused["errnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    bits = [rule["args"][0]["value"] for rule in rules if rule["names"] == ["clone"]]
    assert sum(bits) == 0x7E020000
    # A program that is told that there is no clone3 uses clone, whose flags a filter can see.
    assert next(rule for rule in rules if rule["names"] == ["clone3"])["errnoRet"] == 38


def test_there_is_no_user_namespace_and_there_are_no_cgroups() -> None:
    for user_namespace in (False, True):
        made = make(place=PLACE._replace(user_namespace=user_namespace))
        assert "user" not in kinds(made)
        assert not {"resources", "cgroupsPath", "uidMappings", "devices"} & set(made["linux"])


@pytest.mark.parametrize(("network", "own"), [("none", True), ("host", False)])
def test_the_network_is_the_machine_s_when_asked_for(network: str, own: bool) -> None:
    made = make(PLAN._replace(network=network))
    assert ("network" in kinds(made)) == own
    assert {"pid", "ipc", "uts", "mount"} <= kinds(made)


def test_a_user_namespace_shows_the_machine_s_sys_with_its_network() -> None:
    place = PLACE._replace(user_namespace=True)
    shown = mounts(make(PLAN._replace(network="host"), place))
    assert shown["/sys"]["type"] == "bind"
    assert {"rbind", "ro"} <= set(shown["/sys"]["options"])
    assert mounts(make(place=place))["/sys"]["type"] == "sysfs"


def test_no_file_system_that_can_be_written_has_working_devices() -> None:
    plan = PLAN._replace(binds=(Bind("/srv", "/srv"), Bind("", "/t", kind="tmpfs")))
    for runtime in ("runc", "crun"):
        shown = mounts(
            make(
                plan._replace(runtime=runtime),
                PLACE._replace(sources=("/area/layerview/run/1/runc/bind-0", "")),
            )
        )
        for target, mount in shown.items():
            if target in {f"/dev/{name}" for name in rootfs.DEVICES}:
                # The machine's own: neither its mode nor its owner can be changed.
                assert "ro" in mount["options"]
            elif target != "/dev/pts":
                assert "nodev" in mount["options"], target
        assert ("/." in shown) == (runtime == "crun")


def test_terminals_belong_to_their_group_where_it_has_an_id() -> None:
    for mapped in (False, True):
        shown = mounts(make(place=PLACE._replace(tty_group=mapped)))
        assert ("gid=5" in shown["/dev/pts"]["options"]) == mapped


def test_binds_come_last_and_in_their_order() -> None:
    binds = (
        Bind("/a", "/x"),
        Bind("/b", "/x/y", read_only=True),
        Bind("", "/x/t", read_only=True, kind="tmpfs"),
    )
    place = PLACE._replace(sources=("/1", "/2", ""))
    last = make(PLAN._replace(binds=binds), place)["mounts"][-3:]
    assert [mount["destination"] for mount in last] == ["/x", "/x/y", "/x/t"]
    assert [mount["source"] for mount in last] == ["/1", "/2", "tmpfs"]
    assert ["ro" in mount["options"] for mount in last] == [False, True, True]
