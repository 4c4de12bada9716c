"""How a comparison is judged, as the experiment's file says it before any chain runs: `analysis` in the settings.

The primary outcome decides. All others are secondary, and their tests are corrected for their number too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from collapsar.foundations.errors import UsageError, check_positive
from collapsar.foundations.settings import digest
from collapsar.judging.metric_keys import groups_of

RMST = "recall_rmst"  # restricted mean survival time: generations until recall is halved, to the horizon at most
OUTCOMES = {
    RMST: "Recall survival, in generations",
    "recall": "Final recall",
    "recall_worst_class": "Final recall of the worst class",
    "downstream_auc": "Final downstream AUC",
    "downstream_accuracy": "Final downstream accuracy",
    "downstream_f1": "Final downstream F1",
}
"""The outcomes that arms are compared by, with their titles; more is better in all."""
EARLIER_NAMES = {"recall_half_life": RMST}


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What was fixed for a comparison."""

    primary: str | None = None  # the outcome that decides; None: the first one that is measured
    horizon: int | None = None  # the last generation that is compared; None: that of the median chain
    smallest_effect: int | float | None = None  # smallest difference of the primary outcome that matters, in its units

    @property
    def digest(self) -> str:
        """Eight characters that change with what was fixed; empty if nothing was."""
        return "" if self == Analysis() else digest(asdict(self))

    def outcomes(self) -> list[str]:
        """All outcomes, the primary one first."""
        return sorted(OUTCOMES, key=lambda outcome: outcome != self.primary)


def read_analysis(settings: Mapping[str, Any]) -> Analysis:
    """The analysis of a chain's settings; of earlier versions, one that fixes nothing; UsageError for a wrong one."""
    own, known = settings.get("analysis"), [field.name for field in fields(Analysis)]
    own = {} if own is None else own
    wrong = [str(key) for key in own if key not in known] if isinstance(own, Mapping) else [repr(own)]
    if wrong:
        raise UsageError(f"analysis has the keys {', '.join(known)}: got {', '.join(wrong)}")
    primary, horizon, smallest_effect = (own.get(name) for name in known)
    primary = EARLIER_NAMES.get(str(primary), primary)
    if primary is not None and (not isinstance(primary, str) or primary not in OUTCOMES):
        raise UsageError(f"analysis.primary must be null or one of {', '.join(OUTCOMES)}: got {primary!r}")
    if horizon is not None and (type(horizon) is not int or horizon < 1):
        raise UsageError(f"analysis.horizon must be null or a generation from 1 on: got {horizon!r}")
    if smallest_effect is not None:
        if type(smallest_effect) not in (int, float):
            raise UsageError(f"analysis.smallest_effect must be null or a number: got {smallest_effect!r}")
        check_positive(**{"analysis.smallest_effect": smallest_effect})
    return Analysis(primary=primary, horizon=horizon, smallest_effect=smallest_effect)


def shared_analysis(settings: Sequence[Mapping[str, Any]]) -> Analysis:
    """The analysis that all chains fixed; if they differ, nothing was fixed before."""
    found = {read_analysis(own) for own in settings}
    return found.pop() if len(found) == 1 else Analysis()


def check_extend(extend: Any, evaluation: Any) -> None:
    """Refuse what is neither null nor censored, and chains that do not measure the recall that decides."""
    if extend not in (None, "censored"):
        raise UsageError(f"extend must be null or censored: got {extend!r}")
    groups = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    if extend and isinstance(groups, list) and not groups_of("recall", among=groups):
        raise UsageError(f"extend=censored needs recall: add support to evaluation.metrics, got {', '.join(groups)}")
