"""The kinds of ablation: what replaces a head's `z`, and how the kind is named and shown.

A head is ablated at every position of a sequence at once, by itself (paper: sections 2.1, 3.2):

    z[h] -> replacement[h]

A kind is one entry of `ABLATIONS`. A run's options, both engines and the app's lists, colours and
words read it there. Torch is not imported: the app and the command list kinds without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["partner_tokens", "mean_z"]
"""What an ablation may need beside the sequences: their partners, or the run's mean `z`."""


@dataclass(frozen=True)
class LayerZ:
    """One layer's `z`, of which a replacement is made."""

    own: Tensor  # batch pos head d_head: of the clean run
    partner: Tensor | None  # the same, of the sequences' resample partners
    mean: Tensor | None  # head d_head: over all tokens of the run


@dataclass(frozen=True)
class Ablation:
    """One kind of ablation.

    Attributes:
        name: as in options, tables and links.
        needs: what must be there to make the replacement; None where the sequences do.
        replacement: of a layer's `z`, broadcastable to (batch, pos, head, d_head). It must not
            change what it is given.
        replaced_by: what stands in for a head's `z`, in words that end a sentence.
        remark: a further sentence of the glossary.
        section: of the paper.
        color: in every chart.
    """

    name: str
    needs: Need | None
    replacement: Callable[[LayerZ], Tensor]
    replaced_by: str
    remark: str
    section: str
    color: str

    @property
    def meaning(self) -> str:
        """The kind explained in full sentences."""
        sentence = (
            "The head's output z is replaced, at every position of the sequence at once, by "
            f"{self.replaced_by}."
        )
        return f"{sentence} {self.remark}".strip()


def _partner_z(z: LayerZ) -> Tensor:
    assert z.partner is not None
    return z.partner


def _mean_z(z: LayerZ) -> Tensor:
    assert z.mean is not None
    return z.mean


ABLATIONS = {
    ablation.name: ablation
    for ablation in (
        Ablation(
            name="resample",
            needs="partner_tokens",
            replacement=_partner_z,
            replaced_by="the same head's z at the same positions of another sequence",
            remark="",
            section="section 2.1",
            color="#4c7bf3",
        ),
        Ablation(
            name="mean",
            needs="mean_z",
            replacement=_mean_z,
            replaced_by="the head's mean z over all tokens of the run",
            remark="",
            section="section 3.2",
            color="#e8963d",
        ),
        Ablation(
            name="zero",
            needs=None,
            replacement=lambda z: z.own.new_zeros(()),
            replaced_by="zeros",
            remark="It moves the residual stream's norm most.",
            section="section 3.2, appendix D",
            color="#c2569b",
        ),
    )
}
"""Every kind by its name, in the order of lists; the first one is the default."""


def any_needs(names: Iterable[str], what: Need) -> bool:
    """Whether any of the named ablations needs `what`."""
    return any(ABLATIONS[name].needs == what for name in names)


def in_order(names: Iterable[str]) -> list[str]:
    """The names in the order of `ABLATIONS`; such as are not known here come last."""
    given = set(names)
    return [name for name in ABLATIONS if name in given] + sorted(given - ABLATIONS.keys())
