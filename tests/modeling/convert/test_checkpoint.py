from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from msformers.modeling.convert.checkpoint import Stub, read_checkpoint, state_dict_of

WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3)}


class Hostile:
    """An object whose pickle runs `function(*arguments)` when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def save(path: Path, **extra: Any) -> Path:
    torch.save({"state_dict": WEIGHTS, **extra}, path)
    return path


def rewrite_pickle(path: Path, data: bytes) -> Path:
    """The same archive with another data.pkl."""
    with zipfile.ZipFile(path) as archive:
        records = [(i.filename, archive.read(i)) for i in archive.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records:
            archive.writestr(name, data if name.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize("name", ["dreams_ssl_tiny", "dreams_embedding_tiny", "casanovo_v5_tiny"])
def test_files_that_weights_only_refuses_are_read(shared: Path, name: str) -> None:
    path = shared / "golden" / f"{name}.ckpt"
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    weights = state_dict_of(read_checkpoint(path), path)
    assert len(weights) > 20 and all(torch.is_tensor(value) for value in weights.values())


def test_nothing_foreign_is_imported(shared: Path) -> None:
    code = (
        "import sys; from msformers.modeling.convert.checkpoint import read_checkpoint; before = set(sys.modules);"
        f"content = read_checkpoint({str(shared / 'golden' / 'dreams_ssl_tiny.ckpt')!r});"
        "print(sorted(m for m in set(sys.modules) - before if m.split('.')[0] not in ('torch', 'numpy')));"
        "print(content['hyper_parameters']['spec_preproc'].origin)"
    )
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    assert "dreams" not in lines[0] and "msml" not in lines[0] and "pathlib" not in lines[0]
    assert lines[1] == "dreams.utils.data.SpectrumPreprocessor"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {marker}",)),
        (eval, ("open({marker!r}, 'w')",)),
        (exec, ("open({marker!r}, 'w')",)),
        (subprocess.check_output, (["touch", "{marker}"],)),
        (__import__, ("antigravity",)),
        (getattr, (os, "system")),
        (bytearray, (10**12,)),
    ],
    ids=lambda value: getattr(value, "__name__", "arguments"),
)
def test_hostile_calls_are_inert(tmp_path: Path, function: Any, arguments: tuple[Any, ...]) -> None:
    marker = str(tmp_path / "marker")
    filled = tuple(a.format(marker=marker) if isinstance(a, str) else a for a in arguments)
    if isinstance(filled[0], list):
        filled = ([part.format(marker=marker) for part in filled[0]],)
    if filled[0] is os:
        filled = ("os", "system")
    content = read_checkpoint(save(tmp_path / "x.ckpt", bad=Hostile(function, *filled)))
    assert not os.path.exists(marker) and "antigravity" not in sys.modules
    assert isinstance(content["bad"], Stub) and content["bad"].arguments[0] == filled
    assert torch.equal(content["state_dict"]["layer.weight"], WEIGHTS["layer.weight"])


def test_a_claimed_storage_is_not_allocated(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="StorageType"):
        read_checkpoint(save(tmp_path / "x.ckpt", bad=Hostile(torch.FloatStorage, 10**12)))


def test_a_chain_of_stubs_reaches_nothing(tmp_path: Path) -> None:
    """Attribute paths (`posix.system` through a stub's attributes) stay stubs as well."""
    path = save(tmp_path / "x.ckpt")
    marker = tmp_path / "marker"
    data = b"\x80\x04" + b"\x8c\x02os\x8c\x06system\x93" + pickle.dumps(f"touch {marker}", 0)[:-1] + b"\x85R."
    with pytest.raises(ValueError, match="expected a mapping"):
        read_checkpoint(rewrite_pickle(path, data))
    assert not marker.exists()


def test_foreign_state_is_kept_not_interpreted(tmp_path: Path) -> None:
    class Local:
        pass

    Local.__module__, Local.__qualname__ = "msml.models", "Local"
    module = type(sys)("msml.models")
    module.Local = Local  # type: ignore[attr-defined]
    parent = type(sys)("msml")
    sys.modules.update({"msml": parent, "msml.models": module})
    try:
        thing = Local()
        thing.rate = 3
        path = save(tmp_path / "x.ckpt", thing=thing)
    finally:
        del sys.modules["msml"], sys.modules["msml.models"]
    stub = read_checkpoint(path)["thing"]
    assert isinstance(stub, Stub) and stub.origin == "msml.models.Local" and stub.state == {"rate": 3}
    assert repr(stub) == "<stub of msml.models.Local>"


def test_what_is_not_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    text = tmp_path / "text.ckpt"
    text.write_text("no archive")
    with pytest.raises(ValueError, match=r"text\.ckpt: not a PyTorch checkpoint"):
        read_checkpoint(text)
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="holds a list"):
        read_checkpoint(tmp_path / "list.ckpt")
    broken = rewrite_pickle(save(tmp_path / "broken.ckpt"), b"\x80\x04garbage")
    with pytest.raises(ValueError, match=r"broken\.ckpt: not a readable"):
        read_checkpoint(broken)


def test_programs_and_compressed_archives_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "program.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), program)
    with pytest.raises(ValueError, match="TorchScript"):
        read_checkpoint(program)
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10_000_000))
    with pytest.raises(ValueError, match="compressed"):
        read_checkpoint(bomb)


def test_a_legacy_stream_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": WEIGHTS}, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "old.ckpt"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match=r"torch 1\.6"):
        read_checkpoint(path)


def test_weights_must_be_tensors(tmp_path: Path) -> None:
    path = save(tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match="no weights under 'model'; its keys are state_dict"):
        state_dict_of(read_checkpoint(path), path, "model")
    with pytest.raises(ValueError, match=r"state_dict\['a'\] is 1"):
        state_dict_of({"state_dict": {"a": 1}}, path)
