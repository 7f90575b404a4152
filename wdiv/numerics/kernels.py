"""The compiled loops. Imported only where they are used: numba takes half a second to load.

Memory is read once: a slice that fits the cache is visited twice there. Sums run in float64; ``reassoc`` lets the
compiler use several accumulators, which makes them vectorise and, as it happens, more accurate than one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SLICE = 1 << 16


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def row_moments(rows, mean, std):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Mean and standard deviation (ddof 0) of each row.

    Deviations are taken from the slice's first element, so that a constant row has a spread of exactly zero; the
    slices are joined by the formula of Chan, Golub and LeVeque (1979).
    """
    for r in range(rows.shape[0]):
        n = rows.shape[1]
        seen = 0
        total_mean = 0.0
        total_m2 = 0.0
        for start in range(0, n, SLICE):
            part = rows[r, start : min(start + SLICE, n)]
            first = np.float64(part[0])
            s = 0.0
            for i in range(part.size):
                s += np.float64(part[i]) - first
            shift = s / part.size
            m2 = 0.0
            for i in range(part.size):
                d = (np.float64(part[i]) - first) - shift
                m2 += d * d
            m = first + shift
            delta = m - total_mean
            both = seen + part.size
            if seen == 0:
                total_mean = m
                total_m2 = m2
            else:
                total_mean += delta * (part.size / both)
                total_m2 += m2 + delta * delta * (seen * (part.size / both))
            seen = both
        mean[r] = total_mean if n else np.nan
        std[r] = np.sqrt(total_m2 / n) if n else np.nan


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def row_pair_sums(a, b, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Per row of ``b`` against ``a`` (one row, or as many): sums of (a-b)², (a-b)(a+b), a², b²."""
    for r in range(b.shape[0]):
        ra = 0 if a.shape[0] == 1 else r
        for start in range(0, b.shape[1], SLICE):
            pa = a[ra, start : min(start + SLICE, b.shape[1])]
            pb = b[r, start : min(start + SLICE, b.shape[1])]
            dd = 0.0
            ds = 0.0
            aa = 0.0
            bb = 0.0
            for i in range(pb.size):
                x = np.float64(pa[i])
                y = np.float64(pb[i])
                d = x - y
                dd += d * d
                ds += d * (x + y)
                aa += x * x
                bb += y * y
            out[0, r] += dd
            out[1, r] += ds
            out[2, r] += aa
            out[3, r] += bb
