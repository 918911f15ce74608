"""A view of the file system in which a trial may write where it likes and nothing lasts.

Every shielded folder gets an overlay at the same path whose upper layer lives in memory; the rest is read-only, so a
write elsewhere fails instead of reaching the user's files. Standard library only; nothing here outlives the namespace.
"""

# Plain system calls here: file names of any bytes, and a start in milliseconds.
# ruff: noqa: PTH101, PTH102, PTH110, PTH112, PTH114, PTH115, PTH116, PTH118, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

_SHM = "/dev/shm"
_SCRATCH = ("/tmp", "/var/tmp")  # scripts write there without a thought
SPECIAL = ("/proc", "/sys", "/dev")
"""Not of the user's files."""
_NEWNS, _NEWUSER, _NEWPID = 0x20000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_OPTIONS = {
    "ro": _RDONLY,
    "nosuid": _NOSUID,
    "nodev": _NODEV,
    "noexec": _NOEXEC,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}
_NOBODY = 65534  # whoever the namespace does not know looks like this one
_SET_ATTRIBUTES = 442  # mount_setattr(2), the same number on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


class Tier(str, Enum):
    """How a trial is kept off the user's files, from the strictest."""

    OVERLAY = "overlay"
    """Scratch layers over the user's folders, in namespaces of its own."""
    COPY = "copy"
    """A scratch copy of the project; a guard inside stops writes elsewhere."""
    NONE = "in place"
    """No sandbox at all; only on the user's explicit word."""


class SandboxError(Exception):
    """The kernel refuses a part of the sandbox."""


class _Mount(NamedTuple):
    path: str
    flags: int


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def _refused(what: str) -> SandboxError:
    return SandboxError(f"{what}: {os.strerror(ctypes.get_errno())}")


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process."""
    _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def new_namespaces() -> bool:
    """Give this process a mount view of its own, and its next child a PID namespace.

    Returns:
        Whether it took a user namespace, as it does for an ordinary user.
    """
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_NEWNS | _NEWPID) == 0:
        return False
    if _libc.unshare(_NEWUSER | _NEWNS | _NEWPID):
        raise _refused("user namespace")
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    except OSError as error:
        raise SandboxError(f"user namespace: {error}") from error
    return True


def enter(
    shielded: Iterable[str], writable: Iterable[str], *, environment: dict[str, str], in_user_namespace: bool
) -> None:
    """Build the view for this process and its children. It must be the first process of new namespaces.

    Args:
        shielded: Folders that get a scratch layer.
        writable: Folders that are really written through.
        environment: Of the trial; its TMPDIR is shielded as well.
        in_user_namespace: Whether the namespaces are an ordinary user's.
    """
    if _libc.unshare(_NEWNS):  # the supervisor keeps the real view
        raise _refused("mount namespace")
    _mount("none", "/", "", _REC | _PRIVATE)
    tops = layered([*shielded, *scratch_folders(environment)], os.geteuid() if in_user_namespace else None)
    below = sorted({m.path for m in _mounts() if any(is_below(m.path, top) for top in tops)} - set(tops))
    # Held open before anything is covered, so that each names the real folder ever after.
    layers = [(path, os.open(path, os.O_PATH)) for path in sorted([*tops, *below]) if os.path.exists(path)]
    through = [(path, os.open(path, os.O_PATH)) for path in sorted({os.path.realpath(p) for p in writable})]
    room = os.statvfs(_SHM)
    _set_read_only("/", True)
    _mount("tmpfs", _SHM, "tmpfs", _NOSUID | _NODEV, "mode=755")
    upper = os.open(_SHM, os.O_PATH)
    builder = _Builder(upper, ",userxattr" if in_user_namespace else ",redirect_dir=on", below)
    for path, real in layers:
        if builder.cover(path, real):
            continue
        if path in below:
            builder.show(path, real)
        else:
            builder.rebuild(path, real)
    for path, real in through:
        _mount(f"/proc/self/fd/{real}", path, "", _BIND | _REC)
        _set_read_only(path, False)
    # The script's own shared memory, as large as the real one, hides the layers as well.
    _mount("tmpfs", _SHM, "tmpfs", _NOSUID | _NODEV, f"mode=1777,size={room.f_blocks * room.f_frsize}")
    for _, descriptor in [*layers, *through, ("", upper)]:
        os.close(descriptor)
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)


def scratch_folders(environment: dict[str, str]) -> tuple[str, ...]:
    """Where programs put temporary files."""
    return (*_SCRATCH, environment.get("TMPDIR") or _SCRATCH[0])


def is_below(path: str, folder: str) -> bool:
    """Whether a path is this folder or lies in it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def layered(folders: Iterable[str], user: int | None) -> list[str]:
    """The real folders that get a layer: those that lie in no other. The root and special ones cannot be covered.

    Args:
        folders: What is asked for; what is not there is left out.
        user: The one that an ordinary user's namespace knows, None without one. Such a layer cannot take in a folder
            of somebody else's, so that one below gets a layer of its own.
    """
    real = sorted({os.path.realpath(folder) for folder in folders if folder and os.path.isdir(folder)})
    real = [path for path in real if path != "/" and not any(is_below(path, special) for special in SPECIAL)]
    kept: list[str] = []
    for path in real:  # a folder comes before those below it
        above = max((other for other in kept if is_below(path, other)), key=len, default="")
        if not above or (user is not None and _passes_strangers(path, above, user)):
            kept.append(path)
    return kept


def _passes_strangers(path: str, above: str, user: int) -> bool:
    between = os.path.dirname(path)
    while between != above:
        if os.stat(between).st_uid != user or user == _NOBODY:
            return True
        between = os.path.dirname(between)
    return False


class _Builder:
    """Puts layers over folders.

    Args:
        upper: The folder in memory that holds the layers.
        option: Of an overlay, if the kernel knows it.
        mounts: What is mounted below the folders.
    """

    def __init__(self, upper: int, option: str, mounts: list[str]) -> None:
        self._upper = upper
        self._option = option
        self._mounts = mounts
        self._number = 0

    def cover(self, path: str, real: int) -> bool:
        """Put a scratch layer over a folder; False where none can be had."""
        source = f"/proc/self/fd/{real}"
        if not os.path.isdir(source):
            return False
        self._number += 1
        for name in (f"u{self._number}", f"w{self._number}"):
            os.mkdir(name, 0o755, dir_fd=self._upper)
        layer = f"/proc/self/fd/{self._upper}/u{self._number}"
        _copy_root(source, layer)
        options = f"lowerdir={source},upperdir={layer},workdir=/proc/self/fd/{self._upper}/w{self._number}"
        for extra in (self._option, ""):  # an old kernel knows neither option
            with suppress(SandboxError):
                _mount("overlay", path, "overlay", 0, options + extra)
                return True
        return False

    def show(self, path: str, real: int) -> None:
        """Let it be seen, read-only."""
        _mount(f"/proc/self/fd/{real}", path, "", _BIND | _REC)

    def rebuild(self, path: str, real: int) -> None:
        """Make an empty folder with layers over each folder in it.

        An ordinary user may not cover a folder that somebody else has mounted something in. New files can be made here
        all the same; the files that are there are read-only.
        """
        if not any(is_below(mount, path) for mount in self._mounts):
            raise _refused(f"overlay on {path}")
        source = f"/proc/self/fd/{real}"
        _mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV)
        for name in os.listdir(source):
            self._entry(os.path.join(path, name), os.path.join(source, name))
        _copy_root(source, path)

    def _entry(self, path: str, source: str) -> None:
        if os.path.islink(source):
            os.symlink(os.readlink(source), path)
            return
        if os.path.isdir(source):
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        real = os.open(source, os.O_PATH)
        try:
            if path in self._mounts:
                return  # has its own turn
            if any(is_below(mount, path) for mount in self._mounts):
                self.rebuild(path, real)
            elif not self.cover(path, real):
                self.show(path, real)
        finally:
            os.close(real)


def _copy_root(source: str, layer: str) -> None:
    """The root of an overlay shows its upper layer's owner, mode and times."""
    status = os.stat(source)
    with suppress(OSError):
        os.chown(layer, status.st_uid, status.st_gid)
    os.chmod(layer, status.st_mode & 0o7777)
    os.utime(layer, ns=(status.st_atime_ns, status.st_mtime_ns))


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    encoded = [os.fsencode(text) if text else None for text in (source, target, kind)]
    if _libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() or None):
        raise _refused(f"{kind or 'bind'} mount on {target}")


def _set_read_only(path: str, wanted: bool) -> None:
    """Make a mount and all below it read-only, or writable again."""
    attributes = _Attributes(set=int(wanted), clear=int(not wanted))
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    if _libc.syscall(_SET_ATTRIBUTES, -100, os.fsencode(path), 0x8000, ctypes.byref(attributes), size) == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        raise _refused(f"read-only {path}")
    for mount in _mounts():  # a kernel before 5.12
        if is_below(mount.path, path):
            flags = (mount.flags & ~_RDONLY) | (_RDONLY if wanted else 0)
            _mount("none", mount.path, "", _REMOUNT | _BIND | flags)


def _mounts() -> list[_Mount]:
    """The mounts of this view."""
    with open("/proc/self/mountinfo", "rb") as file:
        rows = [line.split(b" ") for line in file]
    found: list[_Mount] = []
    for row in rows:
        path = row[4]
        for code in (b"040", b"011", b"012", b"134"):  # a blank, tab, newline and backslash are written in octal
            path = path.replace(b"\\" + code, bytes([int(code, 8)]))
        flags = sum(_OPTIONS.get(option, 0) for option in row[5].decode().split(","))
        found.append(_Mount(os.fsdecode(path), flags))
    return found
