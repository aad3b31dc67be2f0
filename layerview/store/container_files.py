"""The files of a container as Docker 20.10 writes them (moby, container/container.go, Container).

Every field that an engine writes is there, so that it reads them as its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

from layerview.store.liveness import NEVER

CONFIG = "config.v2.json"
HOST_CONFIG = "hostconfig.json"
ETC_FILES = ("hostname", "hosts", "resolv.conf")
"""Files beside it that show in the container's /etc."""
NOTES = "Layerview"
"""The key under which layerview keeps in CONFIG what is its own; an engine drops it."""
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
HOSTS = (
    b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n"
    b"ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
"""/etc/hosts of a container with a network of its own, as libnetwork writes it."""


def created_state() -> dict[str, object]:
    """Return the State of a container that was never started."""
    return {
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "RemovalInProgress": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": NEVER,
        "FinishedAt": NEVER,
        "Health": None,
    }


def config_document(
    *,
    id: str,
    name: str,
    created: str,
    driver: str,
    image: str,
    path: str,
    args: Sequence[str],
    config: Mapping[str, object],
    mount_points: Mapping[str, object],
    network: str,
    notes: Mapping[str, object],
) -> dict[str, object]:
    """Return config.v2.json of a new container.

    Args:
        id: its ID.
        name: without a slash in front.
        created: RFC 3339.
        driver: under which its layer lies.
        image: the image's ID.
        path: the program.
        args: its arguments.
        config: Docker's `Config` object.
        mount_points: Docker's `MountPoints`, by target.
        network: "none" or "host".
        notes: what layerview keeps besides.
    """
    return {
        "StreamConfig": {},
        "State": created_state(),
        "ID": id,
        "Created": created,
        "Managed": False,
        "Path": path,
        "Args": list(args),
        "Config": dict(config),
        "Image": image,
        "NetworkSettings": _network_settings(network),
        "LogPath": "",
        "Name": f"/{name}",
        "Driver": driver,
        "OS": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "RestartCount": 0,
        "HasBeenStartedBefore": False,
        "HasBeenManuallyStopped": False,
        "MountPoints": dict(mount_points),
        "SecretReferences": None,
        "ConfigReferences": None,
        "AppArmorProfile": "",
        "HostnamePath": "",
        "HostsPath": "",
        "ShmPath": "",
        "ResolvConfPath": "",
        "SeccompProfile": "",
        "NoNewPrivileges": False,
        "LocalLogCacheMeta": {"HaveNotifyEnabled": False},
        NOTES: dict(notes),
    }


def _network_settings(network: str) -> dict[str, object]:
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Networks": {
            network: {
                "IPAMConfig": None,
                "Links": None,
                "Aliases": None,
                "NetworkID": "",
                "EndpointID": "",
                "Gateway": "",
                "IPAddress": "",
                "IPPrefixLen": 0,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "MacAddress": "",
                "DriverOpts": None,
                "IPAMOperational": False,
            }
        },
        "Service": None,
        "Ports": None,
        "SandboxKey": "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "IsAnonymousEndpoint": False,
        "HasSwarmEndpoint": False,
    }


def host_config(asked: Mapping[str, object]) -> dict[str, object]:
    """Return hostconfig.json: what is asked for, over what `docker create` says without options."""
    nothing: dict[str, object] = {
        "Binds": None,
        "ContainerIDFile": "",
        "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": "none",
        "PortBindings": {},
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "VolumeDriver": "",
        "VolumesFrom": None,
        "CapAdd": None,
        "CapDrop": None,
        "CgroupnsMode": _cgroup_mode(),
        "Dns": [],
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": None,
        "GroupAdd": None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": False,
        "PublishAllPorts": False,
        "ReadonlyRootfs": False,
        "SecurityOpt": None,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": 64 << 20,
        "Runtime": "runc",
        "ConsoleSize": [0, 0],
        "Isolation": "",
        "CpuShares": 0,
        "Memory": 0,
        "NanoCpus": 0,
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": None,
        "BlkioDeviceWriteBps": None,
        "BlkioDeviceReadIOps": None,
        "BlkioDeviceWriteIOps": None,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": [],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        "KernelMemory": 0,
        "KernelMemoryTCP": 0,
        "MemoryReservation": 0,
        "MemorySwap": 0,
        "MemorySwappiness": None,
        "OomKillDisable": False,
        "PidsLimit": None,
        "Ulimits": None,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": list(MASKED),
        "ReadonlyPaths": list(READ_ONLY),
    }
    return nothing | dict(asked)


def _cgroup_mode() -> str:
    """Return Docker's default: a namespace of one's own where there is one hierarchy alone."""
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    return "private" if unified else "host"


def volume_point(
    root: str, name: str, target: str, *, asked: bool, read_only: bool = False, copy: bool = True
) -> dict[str, object]:
    """Return the mount point of a volume.

    Args:
        root: the area's folder.
        name: the volume's.
        target: where containers see it.
        asked: somebody named it; else it goes with the container (`rm --volumes`).
        read_only: it can't be written there.
        copy: it is filled with what the image has there.
    """
    if not asked:
        return _point("", target, name=name, kind="volume", read_only=read_only)
    spec: dict[str, object] = {"Type": "volume", "Source": name, "Target": target}
    if read_only:
        spec["ReadOnly"] = True
    if not copy:
        spec["VolumeOptions"] = {"NoCopy": True}
    words = [word for word, told in (("ro", read_only), ("nocopy", not copy)) if told]
    source = os.path.join(root, "volumes", name, "_data")
    found = _point(source, target, name=name, kind="volume", read_only=read_only)
    return found | {"Relabel": ",".join(words) or "z", "Spec": spec}


def bind_point(
    source: str, target: str, *, read_only: bool = False, make_source: bool = True
) -> dict[str, object]:
    """Return the mount point of a folder or file of the machine.

    Args:
        source: its path.
        target: where the container sees it.
        read_only: it can't be written there.
        make_source: it is made where it is not there, as -v does and --mount does not.
    """
    spec: dict[str, object] = {"Type": "bind", "Source": source, "Target": target}
    if read_only:
        spec["ReadOnly"] = True
    found = _point(source, target, name="", kind="bind", read_only=read_only)
    if read_only and make_source:
        found["Relabel"] = "ro"
    return found | {
        "Propagation": "rprivate",
        "Spec": spec,
        "SkipMountpointCreation": not make_source,
    }


def tmpfs_point(target: str) -> dict[str, object]:
    """Return the mount point of an empty folder in memory."""
    found = _point("", target, name="", kind="tmpfs", read_only=False)
    return found | {"Spec": {"Type": "tmpfs", "Target": target}}


def _point(source: str, target: str, *, name: str, kind: str, read_only: bool) -> dict[str, object]:
    return {
        "Source": source,
        "Destination": target,
        "RW": not read_only,
        "Name": name,
        "Driver": "local" if kind == "volume" else "",
        "Type": kind,
        "Spec": {},
        "SkipMountpointCreation": False,
    }


def to_json(document: object) -> bytes:
    """Write a document as Docker does: compact, and a line's end behind it."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def etc_files(config: Mapping[str, object], network: str) -> dict[str, bytes]:
    """Return ETC_FILES of a container, by name.

    Args:
        config: Docker's `Config` object.
        network: "none" or "host"; the machine's own network has the machine's own hosts.
    """
    name, domain = (str(config.get(key) or "") for key in ("Hostname", "Domainname"))
    return {
        "hostname": f"{name}.{domain}\n".encode() if domain else f"{name}\n".encode(),
        "hosts": _machine_file("/etc/hosts") if network == "host" else HOSTS,
        # As libnetwork gives it without a bridge.
        "resolv.conf": _machine_file("/etc/resolv.conf"),
    }


def _machine_file(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)
    except OSError:
        return b""
