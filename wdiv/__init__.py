"""wdiv shows what fine-tuning does to a convolutional network.

    >>> import wdiv
    >>> tree = wdiv.open("runs/quickstart")                     # doctest: +SKIP
    >>> moved = wdiv.divergence(tree, "relative_l2")            # doctest: +SKIP

Importing wdiv imports neither torch nor xarray; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wdiv.cache.formats import load as load
    from wdiv.cache.formats import save as save
    from wdiv.cache.measures import measured as measured
    from wdiv.compare import diff as diff
    from wdiv.errors import WdivError as WdivError
    from wdiv.inference.export import export as export
    from wdiv.measure import divergence as divergence
    from wdiv.measure import pairwise as pairwise
    from wdiv.metrics import METRICS as METRICS
    from wdiv.outputs import output_change as output_change
    from wdiv.similarity import similarity as cka  # noqa: F401
    from wdiv.store.engine import open_store as open  # noqa: F401
    from wdiv.store.imports import import_run as import_run
    from wdiv.store.verify import verify as verify
    from wdiv.summary import against_noise_floor as against_noise_floor
    from wdiv.summary import comparable as comparable
    from wdiv.summary import outcomes as outcomes
    from wdiv.summary import results as results
    from wdiv.summary import stage_profile as stage_profile
    from wdiv.tuning.training.run import fine_tune as fine_tune

_HOMES = {
    "METRICS": "wdiv.metrics:METRICS",
    "WdivError": "wdiv.errors:WdivError",
    "against_noise_floor": "wdiv.summary:against_noise_floor",
    "cka": "wdiv.similarity:similarity",
    "comparable": "wdiv.summary:comparable",
    "diff": "wdiv.compare:diff",
    "divergence": "wdiv.measure:divergence",
    "export": "wdiv.inference.export:export",
    "fine_tune": "wdiv.tuning.training.run:fine_tune",
    "import_run": "wdiv.store.imports:import_run",
    "load": "wdiv.cache.formats:load",
    "measured": "wdiv.cache.measures:measured",
    "open": "wdiv.store.engine:open_store",
    "outcomes": "wdiv.summary:outcomes",
    "output_change": "wdiv.outputs:output_change",
    "pairwise": "wdiv.measure:pairwise",
    "results": "wdiv.summary:results",
    "save": "wdiv.cache.formats:save",
    "stage_profile": "wdiv.summary:stage_profile",
    "verify": "wdiv.store.verify:verify",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("wdiv")
    elif name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        value = getattr(import_module(module), attribute)
    else:
        raise AttributeError(f"module 'wdiv' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
