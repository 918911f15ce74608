"""Races from top to bottom on a machine made of formulas, where the best arm was planted."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hotlap.errors import HotlapError
from hotlap.logbook import Logbook
from hotlap.race.arm import Arm
from hotlap.race.race import Wish, rules_for
from hotlap.race.result import Metric, RaceResult
from hotlap.race.rules import RULES, Tier
from hotlap.race.screening import INCUMBENT
from hotlap.race.simulated import SimulatedRunner, Truth
from hotlap.records import Facts, Optimizer, Recording, Trial
from hotlap.report.race_figures import sensitivity
from race.field import FACTS, simulated

pytest.importorskip("optuna")
ONLY = ("adamw", "nesterov", "muon")
WISH = Wish(only=ONLY)
EQUAL = {"script": Truth(), "adamw": Truth(), "nesterov": Truth(best_lr=0.1), "muon": Truth()}
TUNED = f"{INCUMBENT}, tuned"


def repeated(folder: Path, truths: dict[str, Truth], count: int, **more: float) -> list[RaceResult]:
    """The same race with other luck."""
    found: list[RaceResult] = []
    for seed in range(count):
        place = folder / str(seed)
        place.mkdir()
        found.append(simulated(place, truths, WISH, seed=seed, **more))
        shutil.rmtree(place)
    return found


def test_a_rule_that_is_really_sooner_wins(tmp_path: Path) -> None:
    """Both speed-ups are given, and the interval holds the planted one."""
    result = simulated(tmp_path, {**EQUAL, "muon": Truth(2.0, 2e-3, 1.1)}, WISH)

    assert result.winner == RULES["muon"].words
    won = result.finalist(result.winner)
    assert won is not None
    assert won.non_inferior
    assert result.speedup_vs_script is not None
    assert result.speedup_vs_script.proven
    assert result.speedup_vs_tuned_incumbent is not None
    assert result.speedup_vs_tuned_incumbent.proven
    ratio = result.speedup_vs_tuned_incumbent.speedup
    assert ratio is not None
    assert 1.4 < ratio.value < 2.2


def test_identical_arms_have_no_winner(tmp_path: Path) -> None:
    """The short form of bench/simulate_race.py: no rule, rate or schedule makes any difference."""
    results = repeated(tmp_path, EQUAL, 8, gap=0.0)

    assert sum(bool(result.winner) for result in results) <= 1
    assert not any(c.proven for r in results if (c := r.speedup_vs_tuned_incumbent))


def test_a_better_schedule_is_no_effect_of_a_rule(tmp_path: Path) -> None:
    """Where all rules are alike and only the decay helps, no challenger is said to beat the tuned rule."""
    results = repeated(tmp_path, EQUAL, 5)

    claimed = [f for r in results for f in r.finalists if f.vs_incumbent is not None and f.vs_incumbent.proven]
    assert not claimed
    assert any(result.winner for result in results)


def test_the_schedule_that_a_rule_likes_is_found(tmp_path: Path) -> None:
    """The script's own rule is given the same choice, so what only the schedule brings is no effect of a rule."""
    likes = {"one-cycle": 1.8}
    (tmp_path / "all").mkdir()
    one = simulated(tmp_path, {**EQUAL, "muon": Truth(1.3, 2e-3, likes=likes)}, WISH)
    all_ = simulated(tmp_path / "all", {rule: replace(truth, likes=likes) for rule, truth in EQUAL.items()}, WISH)

    assert "schedule=one-cycle" in arm_of(one, RULES["muon"].words)
    assert one.winner == RULES["muon"].words
    assert "schedule=one-cycle" in arm_of(all_, TUNED)
    assert not any(f.vs_incumbent is not None and f.vs_incumbent.proven for f in all_.finalists)


def test_variations_are_told_and_are_no_points_of_the_search_for_rates(tmp_path: Path) -> None:
    """They share a rate that was tried before, so a curve over the rates would run straight up."""
    result = simulated(tmp_path, EQUAL, WISH)
    varied = [one for one in result.screened if any(tried.varies for tried in one.tried)]

    assert {one.words for one in varied} == {f.name for f in result.finalists if f.role == "challenger"} | {INCUMBENT}
    for one in varied:
        for trace in sensitivity(one)["data"]:
            assert len(set(trace["x"])) == len(trace["x"])


def test_no_schedule_is_taken_for_its_luck(tmp_path: Path) -> None:
    """All being alike, the arm that came through the rungs stays."""
    results = repeated(tmp_path, EQUAL, 5, gap=0.0)
    arms = [arm_of(result, TUNED) for result in results]

    assert sum("schedule=linear" in arm for arm in arms) >= 4, arms


def arm_of(result: RaceResult, name: str) -> str:
    """The settings of a finalist."""
    found = result.finalist(name)
    assert found is not None
    return found.arm


def test_a_planted_worse_arm_never_wins(tmp_path: Path) -> None:
    """The script's own rule at a third of its pace."""
    truths = {**EQUAL, "adamw": Truth(1 / 3), "nesterov": Truth(1 / 3, 0.1), "muon": Truth(1 / 3)}
    results = repeated(tmp_path, truths, 4)

    assert {result.winner for result in results} <= {"", TUNED}


def test_a_step_that_costs_too_much_is_not_admitted(tmp_path: Path) -> None:
    result = simulated(tmp_path, {**EQUAL, "muon": Truth(1.7, cost=2.5)}, WISH)

    muon = next(one for one in result.screened if one.rule == "muon")
    assert "2." in muon.out
    assert not muon.tried
    assert muon.words not in {finalist.name for finalist in result.finalists}


def test_one_disturbed_timing_keeps_no_rule_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks odd is timed again, and the middle of three counts."""
    plain, disturbed = SimulatedRunner.run, []

    def run(runner: SimulatedRunner, trial: Trial, facts: Facts | None = None) -> Recording:
        record = plain(runner, trial, facts)
        if trial.purpose == "time" and "muon" in str(trial.setup) and not disturbed:
            disturbed.append(trial.id)
            slow = replace(record.steps, total_s=tuple(10 * s for s in record.steps.total_s))
            return replace(record, steps=slow)
        return record

    monkeypatch.setattr(SimulatedRunner, "run", run)
    result = simulated(tmp_path, EQUAL, replace(WISH, shape="quick"))

    muon = next(one for one in result.screened if one.rule == "muon")
    assert disturbed
    assert muon.tried
    assert muon.step_ratio is not None
    assert muon.step_ratio < 1.75


def test_a_first_rate_far_off_is_left_behind(tmp_path: Path) -> None:
    """The search goes on beyond the edge of the rates it began with."""
    result = simulated(tmp_path, {**EQUAL, "adamw": Truth(best_lr=2e-2)}, replace(WISH, only=("adamw",)))

    own = Arm.parse(next(one for one in result.screened if one.rule == "adamw").best)
    assert own.lr is not None
    assert own.lr >= 5e-3


def test_few_seeds_are_indicative_and_name_no_winner(tmp_path: Path) -> None:
    result = simulated(tmp_path, {**EQUAL, "muon": Truth(2.0)}, replace(WISH, shape="quick"))

    assert result.winner == ""
    assert result.leader == RULES["muon"].words
    assert result.speedup_vs_script is not None
    assert result.speedup_vs_script.indicative


@pytest.mark.parametrize("budget_s", [220.0, 400.0, 900.0])
def test_the_limit_on_the_clock_holds(tmp_path: Path, budget_s: float) -> None:
    result = simulated(tmp_path, EQUAL, replace(WISH, budget_s=budget_s))

    assert result.spent_s <= 1.05 * budget_s
    assert result.finalists


def test_a_budget_that_pays_for_no_race_says_what_one_takes(tmp_path: Path) -> None:
    with pytest.raises(HotlapError) as raised:
        simulated(tmp_path, EQUAL, replace(WISH, budget_s=70.0))

    assert raised.value.slug == "race-too-short"


def test_the_logbook_holds_the_whole_answer(tmp_path: Path) -> None:
    result = simulated(tmp_path, EQUAL, WISH)
    written = [event for event in Logbook(tmp_path / "logbook.jsonl").events() if event["kind"] == "race"]

    assert msgspec.convert(written[-1]["result"], RaceResult) == result


def test_an_interrupted_race_goes_on_from_its_recordings(tmp_path: Path) -> None:
    """What is known is not run again, and the answer is the same."""
    (tmp_path / "again").mkdir()
    result = simulated(tmp_path, EQUAL, WISH)
    events = Logbook(tmp_path / "logbook.jsonl").events()
    known = [msgspec.convert(event["recording"], Recording) for event in events if event["kind"] == "recording"]
    took_s = Logbook(tmp_path / "logbook.jsonl").spent_s()
    again = simulated(tmp_path / "again", EQUAL, WISH, known=known, before_s=took_s)

    assert again.winner == result.winner
    assert [finalist.runs for finalist in again.finalists] == [finalist.runs for finalist in result.finalists]
    before_s = again.cost_s["runs that it goes on from"]
    assert before_s == took_s == pytest.approx(result.spent_s, rel=0.05)
    assert again.spent_s == pytest.approx(sum(again.cost_s.values()))
    assert again.spent_s - before_s < 0.2 * result.spent_s


def test_a_torn_seed_is_run_anew_as_a_whole(tmp_path: Path) -> None:
    """Runs of one seed stand beside each other in time, also where the first of them were known."""
    (tmp_path / "again").mkdir()
    result = simulated(tmp_path, EQUAL, WISH)
    events = Logbook(tmp_path / "logbook.jsonl").events()
    known = [msgspec.convert(event["recording"], Recording) for event in events if event["kind"] == "recording"]
    last = max(run.seed for run in result.finalists[0].runs)
    of_seed = [record for record in known if record.trial.seed == last]
    assert len(of_seed) > 1

    simulated(tmp_path / "again", EQUAL, WISH, known=[record for record in known if record is not of_seed[-1]])

    anew = [e["recording"] for e in Logbook(tmp_path / "again" / "logbook.jsonl").events() if e["kind"] == "recording"]
    assert sorted(record["trial"]["seed"] for record in anew if record["trial"]["seed"] == last) == [last] * len(
        of_seed
    )


def test_variants_of_the_command_line_race_by_the_same_protocol(tmp_path: Path) -> None:
    truths = {"script": Truth(), "--model big": Truth(0.5), "--lr 2e-3": Truth(2.0), "--batch-size 8": Truth(1.0)}
    result = simulated(tmp_path, truths, Wish(variants=("--model big", "--lr 2e-3", "--batch-size 8")))

    assert result.winner == "--lr 2e-3"
    assert result.speedup_vs_tuned_incumbent is not None
    assert result.speedup_vs_tuned_incumbent.proven
    assert [finalist.role for finalist in result.finalists] == ["script", "incumbent", "variant", "variant"]
    assert {one.words: bool(one.out) for one in result.screened}["--model big"]


def test_a_third_of_the_best_rate_never_wins(tmp_path: Path) -> None:
    """The short form of a field of bench/simulate_race.py."""
    truths = {"script": Truth(), "--lr 3.3e-4": Truth(best_lr=3e-3)}
    for seed in range(10):
        (tmp_path / str(seed)).mkdir()
        result = simulated(tmp_path / str(seed), truths, Wish(variants=("--lr 3.3e-4",)), seed=seed)
        assert result.winner != "--lr 3.3e-4"


def test_the_range_test_brackets_the_scripts_own_rule(tmp_path: Path) -> None:
    result = simulated(tmp_path, EQUAL, replace(WISH, lr_finder=True))

    assert result.range_test is not None
    own = next(one for one in result.screened if one.rule == "script")
    assert all(one.lr is None or one.lr <= 3.01 * result.range_test.edge for one in own.tried)


def test_the_users_goal_is_shown_as_the_script_has_it(tmp_path: Path) -> None:
    result = simulated(tmp_path, EQUAL, replace(WISH, goal=0.7))

    assert result.goals.default == 0.7
    assert result.goals.seeds == 5
    assert result.goals.improvement < 2.3
    assert Metric("acc ([0-9.]+)", grows=True).shown(-0.9) == 0.9


def test_every_race_screens_the_classics_and_the_script_s_own_rule_once() -> None:
    adam = Optimizer("torch.optim.adam:Adam", 1, True, False, ("cpu",), False, False, True)
    found = rules_for(Wish(), replace(FACTS, optimizers=(adam,)))

    classics = {rule.id for rule in RULES.values() if rule.tier is Tier.CLASSIC}
    assert classics - set(found) == {"adam"}
    assert not any(RULES[rule].tier is Tier.WIDE for rule in found)
    assert set(rules_for(Wish(wide=True), FACTS)) == set(RULES)
    assert rules_for(Wish(only=("lion", "adam"), skip=("adam",)), FACTS) == ["lion"]


def test_gradient_descent_needs_many_epochs(tmp_path: Path) -> None:
    """One update an epoch: with few of them it is not applicable, and that is said."""
    few = replace(FACTS, epoch_steps=64)
    truths = {**EQUAL, "gradient-descent": Truth(best_lr=0.5)}
    wish = Wish(only=("gradient-descent", "adamw"), shape="quick")
    told = simulated(tmp_path, truths, wish, found=few)

    descent = next(one for one in told.screened if one.rule == "gradient-descent")
    assert descent.out == "not applicable: it updates once in an epoch, 4 times in the whole training"
    assert not descent.tried
