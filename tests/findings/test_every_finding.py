"""Every finding of conf/finding on planted chains: it can be reproduced, and its controls hold."""

import pytest
from planted_chains import configs_of, planted

from collapsar.findings.finding import load_findings
from collapsar.findings.judge import judge_finding, judge_statistics, judge_values, together
from collapsar.findings.values import against_itself
from collapsar.foundations.errors import UsageError
from collapsar.library.composing import compose_settings

FINDINGS = load_findings()


@pytest.fixture(scope="module", params=FINDINGS, ids=[each.name for each in FINDINGS])
def case(request):
    return request.param, configs_of(request.param)


def test_a_finding_is_reproduced_by_chains_that_do_what_it_claims(case):
    judgement = judge_finding(case[0], planted(*case), look=10)
    assert [own.verdict for own in judgement.judged] == ["reproduced"] * len(case[0].statistics)
    assert [control.name for control in judgement.controls if not control.held] == []


@pytest.mark.parametrize("seed", range(5))
def test_controls_hold_for_every_finding(case, seed):
    finding, evidence = case[0], planted(*case, seed=seed)
    assert together(judge_statistics(finding, evidence.swapped(finding))) != "reproduced"
    for own in finding.statistics:
        if own.minus is not None and own.expected is None:
            assert judge_values(own, [*against_itself(own, evidence).values()]).verdict == "undecided"


@pytest.mark.parametrize("finding", FINDINGS, ids=[each.name for each in FINDINGS])
def test_controls_of_a_finding_compose(finding):
    for control in finding.controls:
        compose_settings([*finding.command, *control.overrides, *next(iter(finding.arms.values()))])


def test_an_unknown_finding_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="did you mean golden_ratio"):
        load_findings(["golden_rato"])
