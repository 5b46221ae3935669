"""Memory, disk and GPU of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from covr.doctor.finding import Finding, State
from covr.doctor.storage import existing

GIB = 1 << 30
PROCESSES = 4
"""Of the smallest plan: driver, training worker, encoder, decode process."""
PROCESS_BYTES = 600 << 20
"""Resident set of `import torch, ray, transformers`: 563 MiB on Linux x86-64."""
LEAST_DISK = 1 * GIB
"""The demo's storage root takes 0.9 GiB."""
ENOUGH_DISK = 10 * GIB
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Files of a container's memory limit and use, of control groups 2 and 1."""


def memory(object_store_bytes: int) -> Iterator[Finding]:
    """Memory that is free, within a container's limit, against what the smallest plan takes."""
    total, available = memory_bytes()
    found = f"{_gib(available)} free of {_gib(total)}"
    needed = object_store_bytes + PROCESSES * PROCESS_BYTES
    if available < needed:
        fix = f"free some: a job takes {_gib(needed)} and its clips; or lower machine.object_store_mb"
        yield Finding(check="memory", found=found, state="fault", fix=fix)
    else:
        yield Finding(check="memory", found=found)
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < object_store_bytes:
        fix = "enlarge it (docker run --shm-size), or lower machine.object_store_mb: Ray falls back to the slow disk"
        yield Finding(check="/dev/shm", found=f"{_gib(free)} free", state="advice", fix=fix)


def memory_bytes(groups: Sequence[tuple[Path, Path]] = CGROUPS) -> tuple[int, int]:
    """(total, available) bytes of this machine, or of this container where it has less."""
    machine = psutil.virtual_memory()
    total, available = machine.total, machine.available
    for limit_file, used_file in groups:
        limit = limit_file.read_text().strip() if limit_file.exists() else "max"
        if limit.isdigit() and int(limit) < total:
            total = int(limit)
            available = min(available, total - int(used_file.read_text()))
    return total, available


def disk(out: str) -> Iterator[Finding]:
    """Space below the storage root, where it is a folder."""
    if "://" in out:
        return
    folder = existing(Path(out))
    free = shutil.disk_usage(folder).free
    found = f"{_gib(free)} free at {folder}"
    fix = "free some, or give out= on another disk; features and frames of a data set take GB"
    state: State = "fault" if free < LEAST_DISK else "advice" if free < ENOUGH_DISK else "ok"
    yield Finding(check="disk", found=found, state=state, fix="" if state == "ok" else fix)


def gpu() -> Iterator[Finding]:
    """What torch can use, and whether FAISS is the flavour for it."""
    import torch

    names = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    if names and torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        yield Finding(check="GPU", found=f"{len(names)} x {names[0]}, {_gib(memory)}, CUDA {torch.version.cuda}")
    elif Path("/dev/nvidia0").exists():
        fix = f"install a driver for CUDA {torch.version.cuda} (nvidia-smi names yours), or trainer.accelerator=cpu"
        yield Finding(check="GPU", found="there is one, but torch cannot use it", state="fault", fix=fix)
    else:
        yield Finding(check="GPU", found="none; training and embedding run on the CPU")
    yield faiss(len(names))


def faiss(num_gpus: int) -> Finding:
    """The flavour of FAISS against the GPUs that torch sees."""
    import faiss as library

    usable = library.get_num_gpus()
    flavour = f"{library.__version__}, " + (f"{usable} GPUs" if usable else "CPU")
    if num_gpus and not usable:
        return Finding(check="FAISS", found=flavour, state="advice", fix="`make install FAISS=gpu` searches on the GPU")
    return Finding(check="FAISS", found=flavour)


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
