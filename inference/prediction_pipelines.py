"""The tasks "molecular-property-prediction", "molecular-fingerprint" and "spectrum-classification", the transformers way."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from .pipeline_base import VectorPipeline


class HeadPipeline(VectorPipeline):
    """Shared by the pipelines that need a trained head on the encoder.

    Raises:
        ValueError: the checkpoint was saved from another class, so that the head has random weights.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name, saved = type(self.model).__name__, self.model.config.architectures
        # an adapter brings a head of its own, whatever its base was saved from
        adapted = hasattr(self.model, "peft_config") or getattr(self.model, "_hf_peft_config_loaded", False)
        if saved and name not in saved and not adapted:
            raise ValueError(
                f"{self.model.name_or_path} holds {', '.join(saved)} and no trained head for {self.task}; "
                f"give a checkpoint of {name}"
            )


class MolecularPropertyPipeline(HeadPipeline):
    """Spectrum to a mapping with index, native_id, status, reason and `properties`: name to value, None without any.

    Values are in the units of the descriptors (RDKit's, for `spectra.descriptors.DESCRIPTOR_NAMES`). They are regressed
    and not rounded: a count comes out as a fraction, and a rare one may fall below 0.

    Args:
        properties: names of those to give, in this order, also per call; by default all that the model predicts.
        kwargs: what every `Pipeline` takes.

    Raises:
        ValueError: the model does not predict such a property, or has no names for what it predicts.
    """

    def _sanitize_parameters(
        self, properties: Sequence[str] | None = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        _refuse(self.task, parameters, "properties")
        known = list(self.model.config.property_names)
        if not known:
            raise ValueError(
                f"{self.model.name_or_path} names no properties; train its head, or give another"
            )
        if properties is None:
            return {}, {}, {}
        wanted = [properties] if isinstance(properties, str) else list(properties)
        for name in wanted:
            if name not in known:
                near = get_close_matches(name, known, 3, 0.5)
                raise ValueError(
                    f"{self.model.name_or_path} predicts no property {name!r}; "
                    + (
                        f"near to it: {', '.join(near)}"
                        if near
                        else f"it predicts {len(known)}, see its config"
                    )
                )
        return {}, {}, {"properties": wanted}

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """Values (B, properties)."""
        return self.model(**batch).properties

    def postprocess(
        self, model_outputs: dict[str, Any], properties: Sequence[str] | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Properties of one spectrum's molecule."""
        answer = model_outputs["answer"]
        if answer.values is None:
            return answer.row(properties=None)
        found = dict(zip(self.model.config.property_names, answer.values.tolist(), strict=True))
        return answer.row(
            properties=found if properties is None else {name: found[name] for name in properties}
        )


class MolecularFingerprintPipeline(HeadPipeline):
    """Spectrum to a mapping with index, native_id, status, reason, and

    * `bits`: the numbers of the bits that are on, that is whose probability is at least `threshold`;
    * `probabilities`: of all bits, a list of floats. Both are None without a prediction.

    Args:
        threshold: between 0 and 1, also per call; by default 0.5.
        kwargs: what every `Pipeline` takes.

    Raises:
        ValueError: the threshold is no probability.
    """

    def _sanitize_parameters(
        self, threshold: float | None = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        _refuse(self.task, parameters, "threshold")
        return {}, {}, _threshold(threshold)

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """Probabilities (B, bits)."""
        return self.model(**batch).logits.float().sigmoid()

    def postprocess(
        self, model_outputs: dict[str, Any], threshold: float = 0.5, **parameters: Any
    ) -> dict[str, Any]:
        """Fingerprint of one spectrum's molecule."""
        answer = model_outputs["answer"]
        if answer.values is None:
            return answer.row(bits=None, probabilities=None)
        bits = torch.nonzero(answer.values >= threshold).flatten()
        return answer.row(bits=bits.tolist(), probabilities=answer.values.tolist())


class SpectrumClassificationPipeline(HeadPipeline):
    """Spectrum to a mapping with index, native_id, status, reason, and

    * `labels`: those that apply, likeliest first: with a probability of at least `threshold`, or the one best where the
      labels exclude each other (`config.problem_type` is "single_label_classification");
    * `scores`: label to probability, likeliest first. Both are None without a prediction.

    Args:
        threshold: between 0 and 1, also per call; by default 0.5.
        kwargs: what every `Pipeline` takes.

    Raises:
        ValueError: the threshold is no probability.
    """

    def _sanitize_parameters(
        self, threshold: float | None = None, **parameters: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        _refuse(self.task, parameters, "threshold")
        return {}, {}, _threshold(threshold)

    @property
    def exclusive(self) -> bool:
        """Whether one label at most can be true."""
        return self.model.config.problem_type == "single_label_classification"

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """Probabilities (B, labels)."""
        logits = self.model(**batch).logits.float()
        return logits.softmax(-1) if self.exclusive else logits.sigmoid()

    def postprocess(
        self, model_outputs: dict[str, Any], threshold: float = 0.5, **parameters: Any
    ) -> dict[str, Any]:
        """Labels of one spectrum."""
        answer = model_outputs["answer"]
        if answer.values is None:
            return answer.row(labels=None, scores=None)
        names = label_names(self.model.config, len(answer.values))
        order = answer.values.argsort(descending=True, stable=True).tolist()
        scores = {names[place]: float(answer.values[place]) for place in order}
        labels = list(scores)[:1] if self.exclusive else [one for one in scores if scores[one] >= threshold]
        return answer.row(labels=labels, scores=scores)


def label_names(config: Any, count: int) -> list[str]:
    """Names of a classifier's `count` outputs: `config.id2label` where it was set, else `config.classification_tasks`."""
    names = [str(config.id2label.get(place, f"LABEL_{place}")) for place in range(count)]
    tasks = list(getattr(config, "classification_tasks", ()))
    unset = names == [f"LABEL_{place}" for place in range(count)]
    return tasks if unset and len(tasks) == count else names


def _refuse(task: str, parameters: dict[str, Any], known: str) -> None:
    if parameters:
        raise TypeError(f"{task} has no parameter {', '.join(sorted(parameters))}; known: {known}")


def _threshold(value: float | None) -> dict[str, Any]:
    if value is not None and not 0.0 <= value <= 1.0:
        raise ValueError(f"threshold is a probability between 0 and 1, got {value}")
    return {} if value is None else {"threshold": value}
