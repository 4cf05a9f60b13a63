"""What the pipelines on spectra share: any form of spectrum in, and a bad one costs only itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Pipeline

from ..spectra.spectrum import Problem, Spectrum
from .encode import spectrum_features
from .inputs import as_list, as_spectrum

# stands for a record that cannot be read, with what the strictest preparation asks for (Casanovo: 20 peaks and a charge)
PLACEHOLDER = {
    "mz": [float(mz) for mz in range(100, 130)],
    "intensity": [1.0] * 30,
    "precursor_mz": 200.0,
    "charge": 1,
}


class SpectrumPipeline(Pipeline):
    """Shared by the pipelines on spectra: any form of spectrum, or a file, in; a bad spectrum costs only itself."""

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer: bool | None = False

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Run on spectra.

        Args:
            inputs: one spectrum (`Spectrum`, row of `load_spectra`, mapping, `matchms.Spectrum`), a list, a dataset,
                a slice of one or a generator of them, or the path of a file of spectra, every record of which is answered.
            kwargs: `batch_size` and the parameters of the pipeline.
        """
        if isinstance(inputs, str | Path):
            from ..spectra.read import read

            inputs = list(read(inputs))
        several = as_list(inputs)
        if several is not None:
            return super().__call__(several, **kwargs) if several else []
        return super().__call__(inputs, **kwargs)

    def preprocess(self, input_: Any, **parameters: Any) -> dict[str, Any]:
        """Tensors of one spectrum with a batch dimension of 1, and the `record` they belong to."""
        record = as_spectrum(input_)
        tensors: Mapping[str, Any]
        if isinstance(record, Spectrum):
            try:
                tensors = self.feature_extractor([record], return_tensors="pt")
            except (TypeError, ValueError) as error:
                record = Problem(record.index, record.line, record.native_id, "", "", str(error), record.path)
        if isinstance(record, Problem):
            tensors = self.feature_extractor([PLACEHOLDER], return_tensors="pt")
        return {**tensors, "record": record}

    def _forward(self, input_tensors: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        record = input_tensors.pop("record")
        decode = parameters.get("decode", "fingerprint")
        return {"embedding": spectrum_features(self.model, input_tensors, decode).float(), "record": record}
