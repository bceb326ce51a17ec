"""What is looked at: the run, ablation and head that a page, a figure or a question is about."""

from dataclasses import dataclass
from typing import Any

from selfrepair.app.questions.queries import Answer, Generation, ask

# The rows of a head of a run under every ablation, and under the one that is looked at.
WHERE_HEAD = """where run_id = $run
            and layer = $layer
            and head = $head"""
OF_HEAD = """where run_id = $run
            and ablation = $ablation
            and layer = $layer
            and head = $head"""


@dataclass(frozen=True)
class Subject:
    """A head under one ablation of one run in one generation; a question takes of it what it needs.

    ablation: "" where all of a run's are asked for. layer, head: 0, 0 where no head is.
    """

    generation: Generation
    run: str
    ablation: str = ""
    layer: int = 0
    head: int = 0

    @property
    def head_name(self) -> str:
        """L10H11."""
        return f"L{self.layer}H{self.head}"

    def ask(self, sql: str, **parameters: Any) -> Answer:
        """The rows of a query, in which `$run`, `$ablation`, `$layer` and `$head` are this one's.

        parameters: the query's other `$names`. Raises duckdb.Error.
        """
        own = {
            "run": self.run, "ablation": self.ablation, "layer": self.layer, "head": self.head,
        }  # fmt: skip
        return ask(self.generation, sql, **own, **parameters)
