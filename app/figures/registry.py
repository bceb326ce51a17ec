"""Every figure by its name: how it is drawn, what it shows, what the paper says of it.

The pages, the Paper page and the report draw from here. A figure's title, view, rows and claim
stand in `sql/views/figures.sql`; its drawing stands in one of this room's `*_figures.py`.
"""

from dataclasses import dataclass, fields, replace

import pandas as pd

from selfrepair.app.figures import head_figures, neuron_figures, page_figures, run_figures
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
"""Those that `figures` has a row of: the paper's, and those beside them."""

CHARTS: dict[str, Figure] = {**FIGURES, **page_figures.FIGURES}
"""Every chart of the app, but what a visitor makes of rows on the SQL page."""


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
    columns = [field.name for field in fields(Entry)]
    rows = run_questions.figures(generation, columns).frame
    texts = rows.astype(object).where(pd.notna(rows), "")
    return {row["figure"]: Entry(**row) for row in texts.to_dict("records")}


def draw(name: str, subject: Subject, **options: object) -> Drawn:
    """The chart of a subject. Raises KeyError for what no chart draws, duckdb.Error."""
    return CHARTS[name].draw(subject, **options)


def title(name: str, subject: Subject, drawn: Drawn) -> str:
    """What stands above a chart: what its options made of it, or the figure's own heading."""
    return drawn.title or entries(subject.generation)[name].heading


def heads_of(name: str, subject: Subject) -> list[str]:
    """The heads that a figure can be drawn of, where these are not all ablated ones; else none."""
    figure = CHARTS.get(name)
    if figure is None or figure.heads is None:
        return []
    kept = figure.heads(subject).frame
    return [words.head(row.layer, row.head) for row in kept.itertuples()]


def with_head(name: str, subject: Subject) -> Subject:
    """With the paper's own head where the run measured it, else with the most self-repaired one.

    Of the heads that the figure can be drawn of; the subject as it is where there are none.
    """
    heads = run_questions.heads(subject).frame
    only = heads_of(name, subject)
    if only:
        heads = heads[heads["name"].isin(only)]
    entry = entries(subject.generation).get(name)
    own = heads[heads["name"] == (entry.head_of(subject.run) if entry else "")]
    best = own if len(own) else heads.sort_values("self_repair", ascending=False)
    if best.empty:
        return subject
    layer, head = (int(best[column].iloc[0]) for column in ("layer", "head"))
    return replace(subject, layer=layer, head=head)
