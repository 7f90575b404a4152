"""The compiled loops. Imported only where they are used: numba takes half a second to load.

Memory is read once: a slice that fits the cache is visited several times there. Sums run in float64; ``reassoc`` lets
the compiler use several accumulators, which makes them vectorise and, as it happens, more accurate than one.

Only inner loops may be rearranged; what joins their sums is computed as it is written. And they are melted into their
caller, always: of a loop that is called, the linker takes the copy that is there, which is another one in a process
that compiled it than in one that loaded it from the cache, and sums in another order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SLICE = 1 << 14
PAIR_SLICE = 1 << 10
FAST = {"reassoc", "contract", "nsz"}


@njit(forceinline=True, fastmath=FAST)
def _total(x, first):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Σ(x−first)."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) - first
    return total


@njit(forceinline=True, fastmath=FAST)
def _deviations(x, near):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Σ(x−near), Σ(x−near)²."""
    total = 0.0
    squares = 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - near
        total += d
        squares += d * d
    return total, squares


@njit(cache=True, nogil=True)
def row_moments(rows, mean, std):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Mean and standard deviation (ddof 0) of each row.

    A slice's mean is summed from its first element, so that a constant row has a spread of exactly zero, and is
    corrected, as is the spread, by what the deviations from it leave: how much that is depends on the compiler. The
    slices are joined by the formula of Chan, Golub and LeVeque (1979).
    """
    n = rows.shape[1]
    for r in range(rows.shape[0]):
        seen = 0
        total_mean = 0.0
        total_m2 = 0.0
        for start in range(0, n, SLICE):
            part = rows[r, start : min(start + SLICE, n)]
            k = part.size
            first = np.float64(part[0])
            near = first + _total(part, first) / k
            rest, m2 = _deviations(part, near)
            seen += k
            delta = near + rest / k - total_mean
            total_mean += delta * (k / seen)
            total_m2 += m2 - rest * (rest / k) + delta * delta * ((seen - k) * (k / seen))
        mean[r] = total_mean if n else np.nan
        std[r] = np.sqrt(total_m2 / n) if n else np.nan


@njit(forceinline=True, fastmath=FAST)
def _differences(a, b, d):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """d = a − b, kept: in one loop, ``reassoc`` would make (a − b) − c into a − (b + c), and lose the digits of d."""
    for i in range(b.size):
        d[i] = np.float64(a[i]) - np.float64(b[i])


@njit(forceinline=True, fastmath=FAST)
def _sums(d, b, shift, first, largest):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Σ(d−shift), Σ(d−shift)², Σd(b−first), Σ|d|, and how many |d| are above ``largest``."""
    s1 = 0.0
    s2 = 0.0
    co = 0.0
    total = 0.0
    above = 0.0
    for i in range(b.size):
        e = d[i] - shift
        s1 += e
        s2 += e * e
        co += d[i] * (np.float64(b[i]) - first)
        total += abs(d[i])
        above += 1.0 if abs(d[i]) > largest else 0.0
    return s1, s2, co, total, above


@njit(forceinline=True, fastmath=FAST)
def _flips(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """How many elements are negative in one and positive in the other."""
    flips = 0
    for i in range(b.size):
        flips += ((a[i] < 0) & (b[i] > 0)) | ((a[i] > 0) & (b[i] < 0))
    return flips


@njit(forceinline=True, fastmath=FAST)
def _squares(d, mean_d):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Σ(d−mean_d)²."""
    m2 = 0.0
    for i in range(d.size):
        e = d[i] - mean_d
        m2 += e * e
    return m2


@njit(cache=True, nogil=True)
def row_pair_sums(a, b, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Per row of ``b`` against a row of ``a`` (row r against row r modulo the rows of ``a``), d being a − b:

    mean d, Σ(d−d̄)², Σd(b−b₀) with b₀ the row's first element, Σ|d|, max|d|, and how many signs differ.

    Deviations are taken from the mean so far, in the same visit as the sums; where that is far from the slice's own
    mean, which would cost digits, the slice is visited again. A maximum does not vectorise, but asking whether a
    slice holds a larger element does, and it seldom does.
    """
    n = b.shape[1]
    kept = np.empty(min(n, PAIR_SLICE))
    for r in range(b.shape[0]):
        ra = r % a.shape[0]
        first = np.float64(b[r, 0]) if n else 0.0
        seen = 0
        mean_d = 0.0
        m2_d = 0.0
        co = 0.0
        total_abs = 0.0
        largest = 0.0
        flips = 0
        for start in range(0, n, PAIR_SLICE):
            pa = a[ra, start : min(start + PAIR_SLICE, n)]
            pb = b[r, start : min(start + PAIR_SLICE, n)]
            k = pb.size
            d = kept[:k]
            _differences(pa, pb, d)
            s1, s2, part_co, part_abs, above = _sums(d, pb, mean_d, first, largest)
            here = mean_d + s1 / k
            part_d = s2 - s1 * (s1 / k)
            if part_d < 0.125 * s2:
                part_d = _squares(d, here)
            if above > 0.0:
                for i in range(k):
                    largest = max(largest, abs(d[i]))
            seen += k
            delta = here - mean_d
            mean_d += delta * (k / seen)
            m2_d += part_d + delta * delta * ((seen - k) * (k / seen))
            co += part_co
            total_abs += part_abs
            flips += _flips(pa, pb)
        out[0, r] = mean_d
        out[1, r] = m2_d
        out[2, r] = co
        out[3, r] = total_abs
        out[4, r] = largest
        out[5, r] = flips


@njit(cache=True, nogil=True)
def row_largest_gap(a, b, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Largest difference of two empirical distribution functions, per row; rows are sorted."""
    n = b.shape[1]
    for r in range(b.shape[0]):
        ra = r % a.shape[0]
        i = 0
        j = 0
        gap = 0
        while i < n and j < n:
            x = a[ra, i]
            y = b[r, j]
            if x != x or y != y:  # NaN sorts last and never passes
                break
            here = min(x, y)
            while i < n and a[ra, i] <= here:
                i += 1
            while j < n and b[r, j] <= here:
                j += 1
            gap = max(gap, abs(i - j))
        out[r] = gap / n if n else np.nan
