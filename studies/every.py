"""Every study that comes with wdiv: importing this module registers them."""

from studies import (
    chadha2020,
    gupta2020,
    gupta2020_networks,
    gupta2020_subsets,
    li2020,
    neychev2017,
    peng2020,
    quickstart,
)

__all__ = [
    "chadha2020", "gupta2020", "gupta2020_networks", "gupta2020_subsets", "li2020", "neychev2017", "peng2020",
    "quickstart",
]  # fmt: skip
