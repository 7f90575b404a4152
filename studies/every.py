"""Every study that comes with wdiv: importing this module registers them."""

from studies import chadha2020, gupta2020, gupta2020_networks, gupta2020_subsets, peng2020, quickstart

__all__ = ["chadha2020", "gupta2020", "gupta2020_networks", "gupta2020_subsets", "peng2020", "quickstart"]
