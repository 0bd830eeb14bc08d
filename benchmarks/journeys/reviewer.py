"""A reviewer with nothing but another model's predictions: ``python benchmarks/journeys/reviewer.py``."""

from __future__ import annotations

import random

from journey import journey

HEAD = "patient,y_true,y_score,site"


def rows(count: int) -> list[tuple[str, int, float, str]]:
    """Patient, truth, score in percent, site."""
    chance = random.Random(0)  # noqa: S311 - an invented table
    found = []
    for number in range(count):
        sick = number % 3 == 0
        score = min(max(chance.gauss(62 if sick else 38, 18), 0), 100)
        found.append((f"p{number // 2}", int(sick), round(score, 1), "north" if number % 2 else "south"))
    return found


with journey("A reviewer holds a table of another model's answers, under its own names and in percent.") as going:
    table = [HEAD, *(",".join(map(str, row)) for row in rows(300))]
    (going.home / "theirs.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
    going.type("evaluate theirs.csv")
    if going.wrong:  # the message says what is missing; a version that recognises the names needs less
        going.type("evaluate theirs.csv --scale percent")
    if going.wrong > 1:
        going.hand("rename the columns in a spreadsheet, and divide the scores by 100")
        ours = ["patient_id,label,probability,source", *(f"{a},{b},{c / 100},{d}" for a, b, c, d in rows(300))]
        (going.home / "theirs.csv").write_text("\n".join(ours) + "\n", encoding="utf-8")
        going.type("evaluate theirs.csv")
    going.type(
        "report theirs.csv --out report.html"
        if going.wrong != 1
        else "report theirs.csv --scale percent --out report.html"
    )
