"""A seccomp filter that blocks the system calls of the kernel's keyrings.

No namespace isolates keyrings: a command would inherit the server's session keyring, and share it with the commands of
all conversations. The calls fail with the error of a kernel without keyrings, which programs handle.
"""

import errno
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# <linux/filter.h>, <linux/seccomp.h>
_LOAD_WORD = 0x20
_JUMP_IF_EQUAL = 0x15
_AND = 0x54
_RETURN = 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_ALLOW = 0x7FFF_0000
_REFUSE = 0x0005_0000 | errno.ENOSYS
_KILL = 0x8000_0000
# System calls of the x32 ABI have this bit set.
_X32_BIT = 0x4000_0000


@dataclass(frozen=True, slots=True)
class _Architecture:
    """``AUDIT_ARCH_…`` and the numbers of add_key, request_key and keyctl."""

    name: int
    calls: tuple[int, int, int]


_X86_64 = _Architecture(0xC000_003E, (248, 249, 250))
_I386 = _Architecture(0x4000_0003, (286, 287, 288))
_AARCH64 = _Architecture(0xC000_00B7, (217, 218, 219))
_ARM = _Architecture(0x4000_0028, (309, 310, 311))
_RISCV64 = _Architecture(0xC000_00F3, (217, 218, 219))
_MACHINES = {
    "x86_64": (_X86_64, _I386),
    "aarch64": (_AARCH64, _ARM),
    "riscv64": (_RISCV64,),
}


def refuse_keys(machine: str | None = None) -> bytes | None:
    """Build the filter as an array of ``struct sock_filter``; ``None`` for an unknown architecture."""
    architectures = _MACHINES.get(machine or platform.machine())
    if architectures is None:
        return None
    program = [_step(_LOAD_WORD, _ARCHITECTURE_AT)]
    for architecture in architectures:
        body = _refuse(architecture.calls)
        program += [_step(_JUMP_IF_EQUAL, architecture.name, otherwise=len(body)), *body]
    # Any other ABI that the machine supports is not allowed.
    program.append(_step(_RETURN, _KILL))
    return b"".join(program)


def _refuse(calls: Sequence[int]) -> list[bytes]:
    steps = [_step(_LOAD_WORD, _NUMBER_AT), _step(_AND, 0xFFFF_FFFF ^ _X32_BIT)]
    # Each comparison jumps over the following ones and the "allow" step.
    steps += [_step(_JUMP_IF_EQUAL, call, then=len(calls) - place) for place, call in enumerate(calls)]
    return [*steps, _step(_RETURN, _ALLOW), _step(_RETURN, _REFUSE)]


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
