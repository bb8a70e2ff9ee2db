# SPDX-License-Identifier: MIT
"""Deviations measured by the tests, for the table that ends a run."""
ROWS = {}


def note(case, what, value):
    ROWS.setdefault(case, {})[what] = max(float(value), ROWS.get(case, {}).get(what, 0.0))


def table():
    columns = sorted({what for row in ROWS.values() for what in row})
    yield f"{'case':28}" + "".join(f"{c:>15}" for c in columns)
    for case, row in ROWS.items():
        yield f"{case:28}" + "".join(f"{row[c]:15.1e}" if c in row else f"{'':15}" for c in columns)
