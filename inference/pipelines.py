"""The tasks "spectrum-embedding", "molecule-retrieval" and "peptide-sequencing", and how all tasks enter transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from ..modeling.auto import (
    AutoModelForMolecularFingerprint,
    AutoModelForMolecularPropertyPrediction,
    AutoModelForMoleculeGeneration,
    AutoModelForMoleculeRetrieval,
    AutoModelForPeptideSequencing,
    AutoModelForSpectrumClassification,
    AutoModelForSpectrumEmbedding,
)
from .annotate import finish, plan
from .encode import decode_path, spectrum_features
from .generation.pipeline import MoleculeGenerationPipeline
from .options import SearchOptions
from .peptides import SequenceOptions, Sequencing
from .pipeline_base import SpectrumPipeline, VectorPipeline
from .prediction_pipelines import (
    MolecularFingerprintPipeline,
    MolecularPropertyPipeline,
    SpectrumClassificationPipeline,
)
from .retrieval.bank import MoleculeBank, open_bank
from .retrieval.confidence import Calibration
from .retrieval.evidence import FragmentEvidence
from .retrieval.verdict import Judge
from .sequence import check_options
from .sequence import finish as finish_sequencing
from .sequence import plan as plan_sequencing

_SEARCH = tuple(item.name for item in fields(SearchOptions))


class SpectrumEmbeddingPipeline(VectorPipeline):
    """Spectrum to a mapping with index, native_id, status, reason and its `embedding`, a list of floats, None without one."""

    def _sanitize_parameters(
        self, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if parameters:
            raise TypeError(f"spectrum-embedding has no parameter {', '.join(parameters)}")
        return {}, {}, {}

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """Embeddings (B, D)."""
        return spectrum_features(self.model, batch)

    def postprocess(self, model_outputs: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Embedding of one spectrum."""
        answer = model_outputs["answer"]
        return answer.row(embedding=None if answer.values is None else answer.values.tolist())


class MoleculeRetrievalPipeline(VectorPipeline):
    """Spectrum to ranked molecules: a list of mappings with rank, smiles, score, probability, status, reason …

    A spectrum that cannot be searched gives one mapping with rank None, and status and reason.

    Args:
        candidates: a bank (folder or `MoleculeBank`), a molecule file, or SMILES; may also be given per call.
        kwargs: the fields of `SearchOptions`, and what every `Pipeline` takes.

    Raises:
        BankError, SourceError: the candidates cannot be used, or belong to another model.
    """

    _load_tokenizer = True

    def __init__(self, *args: Any, candidates: object = None, **kwargs: Any) -> None:
        self.decode = str(kwargs.get("decode", "fingerprint"))
        super().__init__(*args, **kwargs)
        self.bank: MoleculeBank | None = None
        self.evidence = FragmentEvidence.load(self.model.name_or_path, self.feature_extractor)
        self.calibration = Calibration.load(self.model.name_or_path)
        if candidates is not None:
            self.bank = open_bank(candidates, self.model, self.tokenizer, self.decode, progress=False)

    def _sanitize_parameters(
        self, candidates: object = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(parameters) - set(_SEARCH))
        if unknown:
            raise TypeError(
                f"molecule-retrieval has no parameter {', '.join(unknown)}; known: {', '.join(_SEARCH)}"
            )
        given: dict[str, Any] = dict(parameters)
        decode = decode_path(self.model, str(parameters.get("decode", self.decode)))
        if candidates is not None:
            given["bank"] = open_bank(candidates, self.model, self.tokenizer, decode, progress=False)
        return {}, {"decode": decode}, given

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """Embeddings (B, D) in the space of the bank."""
        return spectrum_features(self.model, batch, parameters["decode"])

    def postprocess(
        self, model_outputs: dict[str, Any], bank: MoleculeBank | None = None, **parameters: Any
    ) -> list[dict[str, Any]]:
        """Ranked candidates of one spectrum."""
        bank = bank or self.bank
        if bank is None:
            raise ValueError(
                "molecule-retrieval needs candidates=: a bank folder, a molecule file or a list of SMILES"
            )
        options = SearchOptions(**({"decode": self.decode} | parameters))
        judge = Judge(self.model, bank, options, self.evidence, self.calibration)
        answer = model_outputs["answer"]
        annotation, query = plan(answer.record, bank, options)
        if query is not None and answer.values is None:
            annotation.status, annotation.reason = "failed", answer.reason
        elif query is not None:
            vectors = answer.values[None].numpy()
            ranking = judge.rank(vectors, [query])[0]
            finish(annotation, judge(ranking, query, annotation.spectrum, vectors[0]))
        return annotation.rows()


class PeptideSequencingPipeline(SpectrumPipeline):
    """Spectrum to peptides: a list of mappings with rank, peptide, score, residue_scores, calc_mz, status, reason …

    A spectrum without a peptide gives one mapping with rank None, and status and reason.

    Args:
        kwargs: the fields of `SequenceOptions`, also per call, and what every `Pipeline` takes.

    Raises:
        ValueError: the options ask for what the model cannot do.
    """

    _load_tokenizer = True

    def _sanitize_parameters(
        self, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        known = [item.name for item in fields(SequenceOptions)]
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise TypeError(
                f"peptide-sequencing has no parameter {', '.join(unknown)}; known: {', '.join(known)}"
            )
        return dict(parameters), dict(parameters), {}

    def preprocess(self, input_: Any, **parameters: Any) -> dict[str, Any]:
        """The answer to fill, and the tensors of one spectrum; None if it cannot be searched."""
        options = check_options(SequenceOptions(**parameters), self.model)
        answer, arrays = plan_sequencing(input_, self.model, self.feature_extractor, options)
        if arrays is None:
            return {"answer": answer, "inputs": None}
        return {"answer": answer, "inputs": {name: torch.as_tensor(one) for name, one in arrays.items()}}

    def fill(self, answers: Sequence[Sequencing], batch: dict[str, Tensor], **parameters: Any) -> None:
        """Enter the peptides."""
        finish_sequencing(answers, batch, self.model, self.tokenizer, SequenceOptions(**parameters))

    def postprocess(self, model_outputs: dict[str, Any], **parameters: Any) -> list[dict[str, Any]]:
        """Peptides of one spectrum."""
        return model_outputs["answer"].rows()


def register_pipelines() -> None:
    """Make all tasks known to `transformers.pipeline`; safe to call twice."""
    known = PIPELINE_REGISTRY.get_supported_tasks()
    tasks: tuple[tuple[str, type, tuple[Any, ...]], ...] = (
        ("molecule-retrieval", MoleculeRetrievalPipeline, (AutoModelForMoleculeRetrieval,)),
        ("molecule-generation", MoleculeGenerationPipeline, (AutoModelForMoleculeGeneration,)),
        (
            "molecular-property-prediction",
            MolecularPropertyPipeline,
            (AutoModelForMolecularPropertyPrediction,),
        ),
        ("molecular-fingerprint", MolecularFingerprintPipeline, (AutoModelForMolecularFingerprint,)),
        ("spectrum-classification", SpectrumClassificationPipeline, (AutoModelForSpectrumClassification,)),
        ("peptide-sequencing", PeptideSequencingPipeline, (AutoModelForPeptideSequencing,)),
        (
            "spectrum-embedding",
            SpectrumEmbeddingPipeline,
            (AutoModelForSpectrumEmbedding, AutoModelForMoleculeRetrieval, AutoModel),
        ),
    )
    for task, pipeline_class, models in tasks:
        if task not in known:
            PIPELINE_REGISTRY.register_pipeline(
                task, pipeline_class=pipeline_class, pt_model=models, type="multimodal"
            )


register_pipelines()
