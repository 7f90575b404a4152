"""The classifiers that fine-tuning is held against: one record each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from baselines.estimators.discriminant import Discriminant, NearestMean
from baselines.estimators.svm import LinearSVM
from baselines.estimators.tuned import ParamGrid, Tuned
from wdiv.registry import Registry

__all__ = ["BASELINES", "Baseline"]


@dataclass(frozen=True)
class Baseline:
    """A classifier on frozen features, all of whose choices are made on the training set.

    make  (folds, seed) → a scikit-learn estimator with ``cv_score_`` and ``fallback_`` when fitted
    """

    name: str
    long_name: str
    source: str
    make: Callable[[int, int], Any]


INVERSE_STRENGTHS = tuple(float(f"1e{power}") for power in range(-6, 2))
"""C of logistic regression: beyond 10, standardised features are separated or C no longer matters."""
NEIGHBOURS = (1, 3, 5, 9, 15, 25)
KERNEL_COSTS = (0.1, 1.0, 10.0, 100.0)
KERNEL_WIDTHS = (0.03, 0.1, 0.3, 1.0)
"""γ · d. Two standardised images are about √(2d) apart, their kernel about exp(−2γd): from nearly linear to local."""


@dataclass(frozen=True)
class Neighbours:
    """The grid of k: no more than a fold has images to train on."""

    upto: tuple[int, ...] = NEIGHBOURS

    def __call__(self, images: int, features: int) -> ParamGrid:
        return {"n_neighbors": [k for k in self.upto if k <= images]}


@dataclass(frozen=True)
class Kernels:
    """The grid of C and γ, the latter following the number of features."""

    costs: tuple[float, ...] = KERNEL_COSTS
    widths: tuple[float, ...] = KERNEL_WIDTHS

    def __call__(self, images: int, features: int) -> ParamGrid:
        return {"C": self.costs, "gamma": [width / features for width in self.widths]}


def _svm(**options: Any) -> Callable[[int, int], Any]:
    return lambda folds, seed: LinearSVM(folds=folds, random_state=seed, **options)


def _tuned(estimator: Any, grid: Any = None, *, coordinates: bool = False) -> Callable[[int, int], Any]:
    return lambda folds, seed: Tuned(estimator, grid, folds=folds, random_state=seed, coordinates=coordinates)


BASELINES: Registry[Baseline] = Registry(
    "baseline",
    [
        Baseline(
            "svm",
            "linear SVM on images' features of length 1, one class against the rest",
            "Cortes and Vapnik (1995); length 1 as in Chatfield et al. (2014), Return of the devil in the details",
            _svm(normalise="l2"),
        ),
        Baseline(
            "svm-standard",
            "linear SVM on standardised features, one class against the rest",
            "squared hinge as in Fan et al. (2008), LIBLINEAR",
            _svm(),
        ),
        Baseline(
            "svm-cs",
            "linear SVM, all classes at once",
            "Crammer and Singer (2001), On the algorithmic implementation of multiclass kernel-based vector machines",
            _svm(multi_class="crammer_singer"),
        ),
        Baseline(
            "logistic",
            "multinomial logistic regression, L2",
            "as in Kornblith, Shlens and Le (2019), Do better ImageNet models transfer better?",
            _tuned(LogisticRegression(max_iter=10_000), {"C": INVERSE_STRENGTHS}, coordinates=True),
        ),
        Baseline(
            "lda",
            "linear discriminant analysis, shrunk covariance",
            "Fisher (1936); shrinkage of Ledoit and Wolf (2004)",
            _tuned(Discriminant()),
        ),
        Baseline(
            "ncm",
            "nearest class mean",
            "Mensink et al. (2013), Distance-based image classification: generalizing to new classes at near-zero cost",
            _tuned(NearestMean()),
        ),
        Baseline(
            "knn",
            "k nearest neighbours",
            "Cover and Hart (1967), Nearest neighbor pattern classification",
            _tuned(KNeighborsClassifier(n_neighbors=1), Neighbours()),
        ),
        Baseline(
            "kernel-svm",
            "SVM with Gaussian kernel, one class against another",
            "Boser, Guyon and Vapnik (1992), A training algorithm for optimal margin classifiers",
            _tuned(SVC(break_ties=True), Kernels(), coordinates=True),
        ),
    ],
)
