"""The one seam between the harness and a model of any kind."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tgp_multimodal.evaluation.requests import ABILITIES, Answer, Embed, Request

if TYPE_CHECKING:
    from tgp_multimodal.evaluation.cards import Card


class Adapter(ABC):
    """Answers requests for one model. Subclasses give `name`, `supports`, `answer` and `facts`.

    Attributes:
        name: what the model is called in tables and result folders.
        supports: the request classes that it can answer.
        embeds: which items `Embed` may hold, "text" and "image".
        specification: what `adapters.make` was given; empty where the model was made by hand.
        picture_size: side in pixels of the pictures that `Denoise` compares, if it can.
        has_read: whether it was trained on text before, in which test items may have stood.
    """

    name: str
    supports: frozenset[type[Request]]
    embeds: frozenset[str] = frozenset({"text", "image"})
    specification: str = ""
    picture_size: int | None = None
    has_read: bool = True

    @abstractmethod
    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in the order of the requests, all of which are of one class.

        An answer depends on its own request alone: neither the order of the requests nor what else
        is in the list may change it (beyond float rounding).
        """

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What identifies the model: at least `digest`, which changes whenever an answer could."""

    def can(self, card: "Card") -> str | None:
        """None, or the reason why this model cannot run the card. Called before data are loaded."""
        missing = sorted(card.requests - self.supports, key=lambda r: r.__name__)
        if missing:
            return f"cannot {' or '.join(f'{ABILITIES[r]} ({r.__name__})' for r in missing)}"
        if Embed in card.requests and card.modality not in self.embeds:
            return f"cannot embed {card.modality}"
        return None

    def views(self, modality: str) -> Sequence[str]:
        """Names of the vectors that `Embed` may ask for, the usual one first.

        A model with several (its layers, for example) has the best of them chosen by a probe on the
        validation items. The default has one.
        """
        return ("",)

    def fit(self, items: Iterable[Any]) -> None:  # noqa: B027 - most adapters have nothing to fit
        """Hook for baselines that learn from the card's own unlabelled training items.

        Called once per card before its requests. `items` is lazy: who has no use for it pays
        nothing. A pretrained model leaves this alone.
        """

    def guess(self, targets: Sequence[Any]) -> Any | None:
        """Hook for baselines that look at no item: one answer for all, from the training targets.

        None, the default, means that the model wants to see the items.
        """
        return None

    def whole(self, texts: Sequence[str]) -> dict[str, float] | None:
        """Hook for compressors, which cost a list of texts as one text.

        Returns:
            Named totals in nats, the first of which is the model's result; None, the default, for
            models that cost each text alone.
        """
        return None
