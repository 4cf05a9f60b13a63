from __future__ import annotations

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError

from msformers.modeling.base import MsFormersConfig, SpectrumPreTrainedModel


class FreshConfig(MsFormersConfig):
    """Defined under postponed annotations, as every configuration of the house is."""

    model_type = "msf_fresh"
    width: int = 3
    rate: float = 0.5
    label: str | None = None
    share: float | None = None
    on: bool = True


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", "3"), ("width", 3.5), ("rate", "fast"), ("label", 1), ("on", "yes"), ("share", [])],
)
def test_wrong_types_are_refused_when_built_and_when_set(key: str, value: object) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=key):
        FreshConfig(**{key: value})
    with pytest.raises(StrictDataclassFieldValidationError, match=key):
        setattr(FreshConfig(), key, value)


def test_whole_numbers_are_fine_floats() -> None:
    config = FreshConfig(rate=1, share=2)
    assert (config.rate, config.share) == (1, 2)


@pytest.mark.parametrize("key", ["widht", "temperature", "num_beams"])
def test_unknown_keys_are_refused_and_the_known_ones_named(key: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)'{key}'.*width"):
        FreshConfig(**{key: 1})


def test_an_unknown_key_in_a_file_is_refused(tmp_path) -> None:
    FreshConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"width"', '"breadth"'))
    with pytest.raises(ValueError, match="breadth"):
        FreshConfig.from_pretrained(tmp_path)


def test_what_transformers_writes_and_passes_is_known(tmp_path) -> None:
    FreshConfig(width=7, dtype="bfloat16", attn_implementation="eager").save_pretrained(tmp_path)
    config = FreshConfig.from_pretrained(tmp_path, attn_implementation="sdpa", output_hidden_states=True)
    assert config.width == 7 and config.output_hidden_states


def test_peaks_are_checked() -> None:
    check = SpectrumPreTrainedModel.check_peaks
    assert check(torch.zeros(1, 2, 2, dtype=torch.float64)).dtype == torch.float32
    for dtype in (torch.bfloat16, torch.float16, torch.int64):
        with pytest.raises(ValueError, match="float32"):
            check(torch.zeros(1, 2, 2, dtype=dtype))
    for shape in ((2, 2), (1, 2, 3)):
        with pytest.raises(ValueError, match="tokens, 2"):
            check(torch.zeros(*shape))
