"""How well molecular properties are predicted: R² of continuous ones, balanced accuracy of binary ones.

Every function takes two float arrays of shape (n_samples, n_properties): `truth`, where NaN means not known, and
`predicted`, in the same units, finite wherever the truth is known. LSM1-MS2's convention: a property with at most two
distinct values in the evaluated set is binary, any other continuous.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PropertyScores:
    """Figures per property and over properties.

    Attributes:
        binary: which properties have at most two distinct values, bool (n_properties,).
        r2: of continuous properties, NaN for binary ones, float64 (n_properties,).
        balanced_accuracy: of binary properties, NaN for continuous and for constant ones, float64 (n_properties,).
        mean_r2, median_r2, mean_balanced_accuracy, median_balanced_accuracy: over the properties that have the figure;
            NaN if none has.
    """

    binary: BoolArray
    r2: FloatArray
    balanced_accuracy: FloatArray
    mean_r2: float
    median_r2: float
    mean_balanced_accuracy: float
    median_balanced_accuracy: float


def binary_properties(truth: npt.ArrayLike) -> BoolArray:
    """Which properties have at most two distinct known values; constant and unknown ones count as binary.

    Returns:
        bool of shape (n_properties,).
    """
    columns = _matrix(truth, "truth").T
    return np.array([_levels(column).size <= 2 for column in columns], dtype=np.bool_)


def r2_per_property(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> FloatArray:
    """Coefficient of determination 1 - SS_residual / SS_total of every property, over the samples where it is known.

    1 is perfect, 0 what the mean of the evaluated set would get; it has no lower limit.

    Returns:
        float64 of shape (n_properties,); NaN where the truth is constant or unknown.

    Raises:
        ValueError: the shapes differ, or a prediction is not finite where the truth is known.
    """
    return np.array([_r2(*pair) for pair in _columns(truth, predicted)], dtype=np.float64)


def balanced_accuracy_per_property(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> FloatArray:
    """Mean of the shares of both values that are recognised; a prediction above their midpoint is the higher one.

    Returns:
        float64 of shape (n_properties,), within [0, 1]; 0.5 is what a constant prediction gets. NaN where the truth has
        not exactly two distinct values.

    Raises:
        ValueError: the shapes differ, or a prediction is not finite where the truth is known.
    """
    return np.array([_balanced_accuracy(*pair) for pair in _columns(truth, predicted)], dtype=np.float64)


def property_scores(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> PropertyScores:
    """R² of the continuous and balanced accuracy of the binary properties, with their means and medians.

    Raises:
        ValueError: the shapes differ, or a prediction is not finite where the truth is known.
    """
    binary = binary_properties(truth)
    r2 = np.where(binary, np.nan, r2_per_property(truth, predicted))
    accuracy = np.where(binary, balanced_accuracy_per_property(truth, predicted), np.nan)
    return PropertyScores(binary, r2, accuracy, *_summary(r2), *_summary(accuracy))


def _summary(figures: FloatArray) -> tuple[float, float]:
    known = figures[~np.isnan(figures)]
    return (float(known.mean()), float(np.median(known))) if known.size else (float("nan"), float("nan"))


def _r2(truth: FloatArray, predicted: FloatArray) -> float:
    if _levels(truth).size < 2:
        return float("nan")
    # R² does not change with the unit; this one keeps squares of descriptors such as Ipc (up to 1e200) finite
    unit = max(np.abs(truth).max(), np.abs(predicted).max())
    truth, predicted = truth / unit, predicted / unit
    total = ((truth - truth.mean()) ** 2).sum()
    return float(1.0 - ((truth - predicted) ** 2).sum() / total)


def _balanced_accuracy(truth: FloatArray, predicted: FloatArray) -> float:
    levels = _levels(truth)
    if levels.size != 2:
        return float("nan")
    high, called = truth == levels[1], predicted > levels.mean()
    return float((called[high].mean() + (~called[~high]).mean()) / 2)


def _levels(column: FloatArray) -> FloatArray:
    return np.unique(column[~np.isnan(column)])


def _columns(truth: npt.ArrayLike, predicted: npt.ArrayLike) -> list[tuple[FloatArray, FloatArray]]:
    """Known values and predictions of every property."""
    true, guess = _matrix(truth, "truth"), _matrix(predicted, "predicted")
    if true.shape != guess.shape:
        raise ValueError(
            f"truth {true.shape} and predicted {guess.shape} must hold the same samples and properties"
        )
    known = ~np.isnan(true)
    bad = np.argwhere(known & ~np.isfinite(guess))
    if bad.size:
        sample, column = bad[0].tolist()
        raise ValueError(
            f"sample {sample}, property {column}: predicted {guess[sample, column]} where the truth is "
            f"{true[sample, column]}; a missing prediction needs a stated substitute, such as the training mean"
        )
    return [(true[mask, place], guess[mask, place]) for place, mask in enumerate(known.T)]


def _matrix(values: npt.ArrayLike, name: str) -> FloatArray:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.shape[0]:
        raise ValueError(
            f"{name} has shape {matrix.shape}; give (n_samples, n_properties), one sample or more"
        )
    return matrix
