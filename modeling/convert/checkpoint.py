"""Reading foreign PyTorch checkpoints without running anything that is in them.

Lightning checkpoints pickle objects of the program that wrote them; `torch.load(weights_only=True)` refuses them and
`weights_only=False` would import and call whatever they name. Here a name outside a short list of tensors and plain
containers becomes an inert stub: it is never imported, and calling it only remembers the arguments.
"""

from __future__ import annotations

import argparse
import collections
import pickle
import types
import zipfile
from pathlib import Path
from typing import Any

import torch

_PLAIN = {"set": set, "frozenset": frozenset, "complex": complex}
_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
# Every global a checkpoint may really have, by its pickled name. Nothing whose call allocates by a given number
# (bytearray, storages); torch.load resolves the storages of tensors itself, by the size of the file's records.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("argparse", "Namespace"): argparse.Namespace,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _PLAIN.items()},
    **{("torch", name): getattr(torch, name) for name in _DTYPES},
}


class Stub:
    """Stands for an object of a class that is not allowed: keeps what it was given, does nothing.

    Attributes:
        origin: "module.name" of the class it stands for.
        arguments: what the pickle wanted to call the class with.
        state: what the pickle wanted to set on the object.
    """

    origin = ""

    def __new__(cls, *arguments: Any, **keywords: Any) -> Stub:
        """Accept any arguments."""
        self: Any = super().__new__(cls)
        self.arguments, self.state = (arguments, keywords), None
        return self

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Keep the state without interpreting it."""
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Swallow the items of a mapping class."""

    def append(self, value: Any) -> None:
        """Swallow the items of a list class."""

    def extend(self, values: Any) -> None:
        """Swallow the items of a list class."""

    def add(self, value: Any) -> None:
        """Swallow the items of a set class."""

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<stub of {self.origin}>"


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        return type("Stub", (Stub,), {"origin": f"{module}.{name}"})


def _load(file: Any, **options: Any) -> Any:
    return _Unpickler(file, **options).load()


# what torch.load asks of a `pickle_module`
_PICKLE = types.ModuleType("msformers_stub_pickle")
_PICKLE.Unpickler = _Unpickler  # type: ignore[attr-defined]
_PICKLE.load = _load  # type: ignore[attr-defined]
_PICKLE.UnpicklingError = pickle.UnpicklingError  # type: ignore[attr-defined]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The top-level mapping of a PyTorch checkpoint, tensors on the CPU, foreign objects as `Stub`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a PyTorch checkpoint, or not a mapping; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    _refuse_other_archives(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except Exception as error:
        # a broken or hostile pickle can fail in any way; say which file it was
        raise ValueError(
            f"{path}: not a readable PyTorch checkpoint ({type(error).__name__}: {error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected a mapping with the weights")
    return content


def _refuse_other_archives(path: Path) -> None:
    """Only plain torch.save archives: TorchScript carries code, torch.save never compresses (a bomb does)."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(
            f"{path}: not a PyTorch checkpoint (zip archive of torch 1.6 or later): {error}"
        ) from error
    names = {record.filename.partition("/")[2] for record in records}
    if "constants.pkl" in names:
        raise ValueError(f"{path}: a TorchScript program, not a checkpoint; give the .ckpt file")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError(
            f"{path}: holds compressed records, which torch.save does not write; refusing to unpack it"
        )
    if sum(record.file_size for record in records) > path.stat().st_size:
        raise ValueError(f"{path}: claims more data than the file has; refusing to read it")


def state_dict_of(
    checkpoint: dict[str, Any], path: str | Path, key: str = "state_dict"
) -> dict[str, torch.Tensor]:
    """The tensors under `key`.

    Raises:
        ValueError: there is no such mapping, or one of its values is not a tensor; names both.
    """
    weights = checkpoint.get(key)
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path}: no weights under {key!r}; its keys are {', '.join(map(str, checkpoint))}")
    for name, value in weights.items():
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{path}: {key}[{name!r}] is {value!r}, not a tensor")
    return {str(name): value for name, value in weights.items()}


def load_exactly(model: torch.nn.Module, weights: dict[str, Any], path: str) -> None:
    """Assign `weights` to `model`.

    Raises:
        ValueError: a tensor is left over, missing or of another shape; names the first.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"{path}: {len(wrong)} tensors do not fit the architecture, first {name!r}: "
            f"checkpoint {found.get(name)}, model {expected.get(name)}"
        )
    model.load_state_dict(weights, strict=True, assign=True)
