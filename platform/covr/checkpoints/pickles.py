"""Reading pickles without running them: tensors and plain containers are built, everything else stays inert.

A pickle is a program that may name any importable object and call it. The reader here answers every such name
itself: the few that rebuild tensors and containers get functions of this module, all others get an `Inert` class,
so that no module is imported and nothing outside this file is called. Names that only serve to run code
(`os.system`, `builtins.eval`, ...) are refused: a file that holds one is not a checkpoint gone stale but an attack.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import torch

from covr.errors import UserError

CODE_MODULES = {
    *("os", "posix", "nt", "subprocess", "_posixsubprocess", "sys", "shutil", "socket", "runpy", "pty", "importlib"),
    *("imp", "code", "codeop", "ctypes", "pickle", "_pickle", "dill", "cloudpickle", "marshal", "webbrowser", "timeit"),
    *("pdb", "bdb", "profile", "cProfile", "doctest", "pydoc", "commands", "asyncio", "signal", "pip", "zipimport"),
    *("requests", "urllib", "http", "ftplib", "smtplib"),
}
CODE_BUILTINS = {
    "eval",
    "exec",
    "compile",
    "open",
    "input",
    "breakpoint",
    "__import__",
    "globals",
    "setattr",
    "delattr",
}
CODE_NAMES = {"io.open", "_io.open", "io.FileIO", "_io.FileIO", "types.FunctionType", "types.CodeType"}
BUILTINS = ("builtins", "__builtin__")

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
"""Element types of the storage classes that torch names in a checkpoint."""


class Inert:
    """Stands in for an object of an unknown class: keeps what the pickle set on it and does nothing.

    Attributes:
        origin: the dotted name in the pickle.
        state: what the pickle gave as the object's state, mostly a dict.
    """

    origin = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        made = object.__new__(cls)
        made.state = None
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:  # a bound method in a pickle
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # A subclass of list or dict is pickled with its items; they are of no use here.
    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def add(self, item: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class StateDict(dict):
    """A pickled `OrderedDict`. That of `Module.state_dict()` carries `_metadata`, which is of no use here."""

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuild_tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *rest: Any) -> torch.Tensor:
    # as_strided checks the bounds against the storage, so a lying pickle cannot read past it.
    return torch.as_strided(storage, tuple(size), tuple(stride), offset)


def _rebuild_tensor_v3(
    storage: torch.Tensor, offset: int, size: Any, stride: Any, grad: bool, hooks: Any, dtype: Any, *rest: Any
) -> torch.Tensor:
    return torch.as_strided(storage.view(dtype), tuple(size), tuple(stride), offset)


def _rebuild_parameter(data: torch.Tensor, *rest: Any) -> torch.Tensor:
    return data


def _rebuild_from_type(rebuild: Callable[..., Any], kind: Any, args: tuple, state: Any) -> Any:
    return rebuild(*args)


def _encode(text: str, encoding: str = "latin-1") -> bytes:
    return text.encode("latin-1")  # how protocol 2 writes bytes


def _bytes(data: bytes | str = b"", *encoding: str) -> bytearray:
    if not isinstance(data, bytes | str):  # a number would ask for so much memory
        raise pickle.UnpicklingError(f"bytes of {type(data).__name__}")
    return bytearray(data, *encoding)  # type: ignore[arg-type]


KNOWN: dict[str, Any] = {
    "collections.OrderedDict": StateDict,
    "collections.defaultdict": lambda factory=None, items=(): dict(items),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": lambda *name: ":".join(map(str, name)),
    "torch.jit._pickle.build_intlist": list,
    "torch.jit._pickle.build_doublelist": list,
    "torch.jit._pickle.build_boollist": list,
    "torch.jit._pickle.build_tensorlist": list,
    "_codecs.encode": _encode,
    **{f"{module}.{kind.__name__}": kind for module in BUILTINS for kind in (set, frozenset, complex)},
    **{f"{module}.bytearray": _bytes for module in BUILTINS},
    **{f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
}


class InertUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing.

    Args:
        file: where the pickle starts.
        storage: (element type, key, number of elements) -> flat tensor, for the tensors' contents.
        name: the file's name, for messages.

    Attributes:
        strangers: dotted names that were replaced by `Inert`, in order of appearance.
    """

    def __init__(self, file: IO[bytes], storage: Callable[[torch.dtype, str, int], torch.Tensor], name: str) -> None:
        super().__init__(file, encoding="latin-1")
        self._storage, self._name = storage, name
        self.strangers: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        top, first = module.split(".")[0], name.split(".")[0]
        if top in CODE_MODULES or full in CODE_NAMES or (module in BUILTINS and first in CODE_BUILTINS):
            raise UserError(
                f"the pickle in this file calls {full}: it carries code, nothing of it was run",
                self._name,
                "do not trust this file; get the checkpoint from its publisher",
            )
        if full in KNOWN:
            return KNOWN[full]
        if module in ("torch", "torch.storage") and name in DTYPES:
            return DTYPES[name]
        if full not in self.strangers:
            self.strangers[full] = type("Inert", (Inert,), {"origin": full})
        return self.strangers[full]

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and pid[:1] == ("module",):  # the older format: a module's class and its source
            return pid[1]
        kind, dtype, key, _location, numel, *view = pid
        if isinstance(dtype, type) and issubclass(dtype, Inert):  # elements of a type that no weights have
            return Inert()
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown kind of storage {pid!r}")
        storage = self._storage(dtype, str(key), int(numel))
        if view and view[0] is not None:  # files from before torch 1.6 may cut a storage into views
            _view_key, offset, length = view[0]
            return storage.narrow(0, offset, length)
        return storage


def load(
    file: IO[bytes], storage: Callable[[torch.dtype, str, int], torch.Tensor], name: str
) -> tuple[Any, Mapping[str, type]]:
    """One pickled object and the unknown classes met on the way.

    Raises:
        UserError: the stream is damaged, or carries code.
    """
    unpickler = InertUnpickler(file, storage, name)
    try:
        return unpickler.load(), unpickler.strangers
    except UserError:
        raise
    except Exception as error:  # arbitrary bytes may fail in any way that an opcode can
        raise UserError(
            f"not a readable checkpoint ({reason(error)})", name, "the file is damaged; fetch it again"
        ) from None


def reason(error: Exception) -> str:
    """What a damaged file made happen, short enough for a line."""
    return f"{type(error).__name__}: {error}"[:200]


def storage_from_bytes(data: bytes, dtype: torch.dtype, numel: int, what: str) -> torch.Tensor:
    """A flat tensor over `data`.

    Raises:
        pickle.UnpicklingError: the number of bytes is not what the pickle promises.
    """
    if len(data) != numel * dtype.itemsize:
        raise pickle.UnpicklingError(f"storage {what} has {len(data)} bytes instead of {numel * dtype.itemsize}")
    return torch.frombuffer(bytearray(data), dtype=dtype) if numel else torch.empty(0, dtype=dtype)
