"""Every figure by its name: how it is drawn, what it shows, what the paper says of it.

The pages, the Paper page and the report draw from here. A figure's title, view, rows and claim
stand in `sql/views/figures.sql`; its drawing stands in one of this room's `*_figures.py`.
"""

from dataclasses import dataclass

import pandas as pd

from selfrepair.app.figures import head_figures, neuron_figures, run_figures
from selfrepair.app.figures.figure import Drawn, Figure
from selfrepair.app.questions import run_questions
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words

FIGURES: dict[str, Figure] = {
    **run_figures.FIGURES,
    **head_figures.FIGURES,
    **neuron_figures.FIGURES,
}


@dataclass(frozen=True)
class Entry:
    """What the warehouse knows of a figure: a row of `figures`, with "" for what is null.

    view: answers it. rows: which ones it averages or draws. parameters: what can be chosen
    otherwise. note: how it differs from the paper, a line each. claim: what the paper says of it.
    paper_model, paper_head: what the paper's is about, where it is about one head.
    """

    figure: str
    title: str
    view: str
    rows: str
    parameters: str
    note: str
    claim: str
    paper_model: str
    paper_head: str

    @property
    def heading(self) -> str:
        """`Figure 4: Histogram of …`, `Section 2.3: …`."""
        return f"{words.figure(self.figure)}: {self.title}"

    @property
    def is_beyond_paper(self) -> bool:
        return self.claim.startswith("Not in the paper")

    def head_of(self, run: str) -> str:
        """The paper's own head, where the run is of the paper's model; else ""."""
        model = run.partition("@")[0].rpartition("/")[2].lower()
        return self.paper_head if model == self.paper_model else ""


def entries(generation: Generation) -> dict[str, Entry]:
    """All figures of a generation by name, in the paper's order; then those beyond the paper."""
    rows = run_questions.figures(generation).frame
    texts = rows.astype(object).where(pd.notna(rows), "")
    return {row["figure"]: Entry(**row) for row in texts.to_dict("records")}


def draw(name: str, subject: Subject, **options: object) -> Drawn:
    """The figure of a subject. Raises KeyError for what no chart draws, duckdb.Error."""
    return FIGURES[name].draw(subject, **options)


def heads_of(name: str, subject: Subject) -> list[str]:
    """The heads that a figure can be drawn of, where these are not all ablated ones; else none."""
    figure = FIGURES.get(name)
    if figure is None or figure.heads is None:
        return []
    kept = figure.heads(subject).frame
    return [words.head(row.layer, row.head) for row in kept.itertuples()]
