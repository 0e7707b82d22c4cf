"""What an attacker may change and what an attacker may see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from bench.core.exact import exact
from bench.errors import BadValue


class Norm(str, Enum):
    """The norm that measures a perturbation."""

    LINF = "Linf"
    L2 = "L2"
    L1 = "L1"
    L0 = "L0"  # how many values change; a pixel of three channels has three


LARGEST_RADIUS = 10_000_000
"""Further than any image can be moved in any norm: the values of the largest pictures are as many."""

SMALLEST_RADIUS = Fraction(1, 10**30)
"""Above 0; less is none in floating point of 32 bits."""

EVERY_NORM = tuple(Norm)
LINF_L2 = (Norm.LINF, Norm.L2)
LINF_L2_L1 = (*LINF_L2, Norm.L1)


@dataclass(frozen=True)
class Budget:
    """How far an attacker may move an image, in pixel units where white is 1; under L0 a number of values.

    >>> Budget(Norm.LINF, Fraction("12/255")).label, Budget(Norm.L2, Fraction("0.5")).label
    ('Linf 12/255', 'L2 0.5')
    """

    norm: Norm
    eps: Fraction

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise BadValue(f"eps is a radius, so it cannot be negative, but it is {self.eps}", "--eps 8/255")
        _check_radius(self.eps)
        if self.norm is Norm.L0 and self.eps.denominator != 1:
            raise BadValue(f"eps is {self.eps}, expected a whole number of values under L0", "--eps 20")

    @property
    def radius(self) -> float:
        """Eps as a float, for arithmetic on pixels."""
        return float(self.eps)

    @property
    def label(self) -> str:
        """The budget as papers print it."""
        return f"{self.norm.value} {format_eps(self.eps)}"


def format_eps(eps: Fraction) -> str:
    """A radius as papers print it.

    >>> [format_eps(Fraction(e)) for e in ("8/255", "0.3", "0.031", "1/7", "0")]
    ['8/255', '0.3', '0.031', '1/7', '0']
    """
    if eps.denominator == 1:
        return str(eps.numerator)
    levels = eps * 255
    if Fraction(f"{float(eps):.4g}") == eps:
        return f"{float(eps):.4g}"
    return f"{levels}/255" if levels.denominator == 1 else str(eps)


def parse_eps(text: str) -> Fraction:
    """The exact radius that a user typed.

    >>> parse_eps("8/255"), parse_eps("0.3")
    (Fraction(8, 255), Fraction(3, 10))
    """
    try:
        eps = exact(text)
    except ValueError:
        raise BadValue(
            f"eps is {text[:80]!r}, expected a number of pixel units such as 8/255 or 0.3", "--eps 8/255"
        ) from None
    if eps < 0:
        raise BadValue(f"eps is {text!r}, expected a radius of at least 0", "--eps 8/255")
    _check_radius(eps)
    return eps


def _check_radius(eps: Fraction) -> None:
    """Refuse what is infinite, or nothing, in floating point."""
    if eps > LARGEST_RADIUS:
        raise BadValue(
            f"eps is more than {LARGEST_RADIUS:,}, further than any image can be moved", "--eps 8/255"
        )
    if 0 < eps < SMALLEST_RADIUS:
        raise BadValue("eps is above 0 and below 1e-30, which moves no pixel, expected more", "--eps 8/255")


class Source(str, Enum):
    """Whose gradients an attacker can compute."""

    DEPLOYED = "deployed"  # the defense end to end, purifier and all
    BPDA = "bpda"  # the same, but backwards the purifier is passed over as if it were the identity
    CLASSIFIER = "classifier"  # the classifier inside, without its wrapper
    TWIN = "twin"  # the same recipe trained again from another seed
    UNDEFENDED = "undefended"  # a standard network of the same architecture
    SURROGATE = "surrogate"  # an undefended model of another architecture
    NOTHING = "nothing"


class Feedback(str, Enum):
    """What the deployed defense answers when an attacker queries it."""

    LOGITS = "logits"
    LABELS = "labels"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Knowledge:
    """What an attacker sees of a defense.

    >>> WHITE_BOX.gradients.value, GRAY_BOX_CLASSIFIER.gradients.value, SCORES.gradients.value
    ('deployed', 'classifier', 'nothing')
    """

    level: str
    gradients: Source
    feedback: Feedback
    max_queries: int | None = None  # per example; None: unlimited
    means: str = ""

    @property
    def label(self) -> str:
        """The level with what distinguishes it.

        >>> GRAY_BOX_TWIN.label, SCORES.label
        ('gray-box, twin', 'black-box, logits')
        """
        if self.gradients is Source.DEPLOYED:
            return self.level
        what = self.feedback.value if self.gradients is Source.NOTHING else self.gradients.value
        return f"{self.level}, {what}"


WHITE_BOX = Knowledge(
    "white-box", Source.DEPLOYED, Feedback.LOGITS, means="everything, end to end, with BPDA and EOT"
)
WHITE_BOX_BPDA = Knowledge(
    "white-box", Source.BPDA, Feedback.LOGITS, means="everything; backwards the purifier is the identity"
)
GRAY_BOX_CLASSIFIER = Knowledge(
    "gray-box", Source.CLASSIFIER, Feedback.NOTHING, means="the classifier, not the defense around it"
)
GRAY_BOX_TWIN = Knowledge(
    "gray-box",
    Source.TWIN,
    Feedback.NOTHING,
    means="the recipe and architecture, not the weights: the same defense from another seed",
)
GRAY_BOX_UNDEFENDED = Knowledge(
    "gray-box",
    Source.UNDEFENDED,
    Feedback.NOTHING,
    means="the architecture and the data: a standard network of the same architecture",
)
TRANSFER = Knowledge(
    "black-box", Source.SURROGATE, Feedback.NOTHING, means="the data only: a network of another architecture"
)
SCORES = Knowledge(
    "black-box", Source.NOTHING, Feedback.LOGITS, max_queries=5000, means="scores of at most 5,000 queries"
)
DECISIONS = Knowledge(
    "black-box", Source.NOTHING, Feedback.LABELS, max_queries=5000, means="labels of at most 5,000 queries"
)
