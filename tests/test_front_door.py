"""`import msformers` registers everything; `msformers --help` loads none of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import msformers

HEAVY = "{'torch', 'transformers', 'datasets', 'rdkit', 'matplotlib'}"


def run(code: str) -> str:
    """Standard output of a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("arguments", ["[]", "['--help']", "['annotate', '--help']", "['--version']"])
def test_help_is_light(arguments: str) -> None:
    out = run(
        f"import sys, msformers_cli; msformers_cli.main({arguments});"
        f"print('loaded', sorted({HEAVY} & set(sys.modules)))"
    )
    assert out.rstrip().endswith("loaded []")


def test_a_command_registers_the_models() -> None:
    out = run(
        "import msformers_cli; msformers_cli.main(['info', '-q']); import msformers; print(len(msformers.MODELS))"
    )
    assert int(out.split()[-1]) == len(msformers.MODELS) >= 3


def test_import_registers_the_models() -> None:
    out = run(
        "import msformers; from transformers import AutoConfig;"
        "print(type(AutoConfig.for_model('msf_dreams')).__module__)"
    )
    assert out.split()[-1] == "msformers.modeling.dreams_config"


def test_public_names_exist_and_others_do_not() -> None:
    for name in msformers.__all__:
        assert getattr(msformers, name) is not None
    assert set(msformers.__all__) <= set(dir(msformers))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = msformers.no_such_name
