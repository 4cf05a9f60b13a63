"""The task "molecule-generation": the transformers way to generated molecules."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ..loading import Loaded, load_retrieval
from ..pipeline_base import SpectrumPipeline
from .consensus_calibration import ConsensusCalibration
from .decode import Decoder
from .generate import answer_batch, plan
from .library_condition import LibraryCondition
from .options import GenerateOptions
from .rerank import Reranker, reranker
from .substructures import load_substructures

OPTIONS = tuple(item.name for item in fields(GenerateOptions))


class MoleculeGenerationPipeline(SpectrumPipeline):
    """Spectrum to new molecules: a list of mappings with rank, smiles, selfies, formula, mass_error_ppm, status, reason …

    A spectrum without a molecule gives one mapping with rank None, and status and reason.

    Args:
        reranker: orders the molecules: a `Reranker`, or folder or Hub id of a retrieval model; without it the precursor's
            mass does.
        library: spectrum library whose nearest match the model is told: a `LibraryCondition`, or the folder of one; by
            default the one that lies beside the model, if any.
        kwargs: the fields of `GenerateOptions`, also per call, and what every `Pipeline` takes.

    Raises:
        ValueError: the options ask for what the model cannot do.
    """

    _load_tokenizer = True

    def __init__(
        self,
        *args: Any,
        reranker: Reranker | str | Path | None = None,
        library: LibraryCondition | str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.retrieval: Loaded | None = None
        if isinstance(reranker, str | Path):
            self.retrieval, reranker = load_retrieval(str(reranker), str(self.device)), None
        self.reranker, self.substructures = reranker, load_substructures()
        loaded = Loaded(self.model, self.feature_extractor, self.tokenizer)
        if library is None:
            library = LibraryCondition.of_checkpoint(self.model.name_or_path, loaded)
        elif isinstance(library, str | Path):
            library = LibraryCondition.load(library, loaded)
        self.library = library
        self.calibration = ConsensusCalibration.load(self.model.name_or_path)

    def _sanitize_parameters(
        self, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(parameters) - set(OPTIONS))
        if unknown:
            raise TypeError(
                f"molecule-generation has no parameter {', '.join(unknown)}; known: {', '.join(OPTIONS)}"
            )
        return dict(parameters), dict(parameters), {}

    def _decoder(self, parameters: dict[str, Any]) -> Decoder:
        options = GenerateOptions(**parameters)
        # the tolerance may be another at every call
        learned = None if self.retrieval is None else reranker("learned", self.retrieval, options.ppm)
        return Decoder(
            self.model,
            self.feature_extractor,
            self.tokenizer,
            options,
            learned or self.reranker,
            self.library,
            substructures=self.substructures,
            calibration=self.calibration,
        )

    def preprocess(self, input_: Any, **parameters: Any) -> dict[str, Any]:
        """The answer to fill, and what may be generated for it."""
        return {"record": plan(input_, self._decoder(parameters))}

    def _forward(self, input_tensors: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        record = input_tensors["record"]
        answer_batch(record if isinstance(record, list) else [record], self._decoder(parameters))
        return {"record": record}

    def postprocess(self, model_outputs: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
        """Molecules of one spectrum."""
        return model_outputs["record"].answer.rows()
