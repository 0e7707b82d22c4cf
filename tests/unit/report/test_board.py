from __future__ import annotations

import dataclasses
import io
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import BadValue
from bench.records.record import Column, Finding, Record
from bench.report.board import board, board_files
from bench.report.exchange import Published
from bench.report.latex_tables import board_latex
from bench.report.paper_table import PaperTable
from bench.report.render import Marked, csv, markdown, terminal, values
from bench.report.setting import Setting

Maker = Callable[..., Record]
BOARDS = Path(__file__).parents[3] / "leaderboards"


def frame_of(records: list[Record]) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv(board(records))))


def one_suite(make_record: Maker, **worst: int) -> list[Record]:
    """A row for each name, under whitebox@1."""
    return [make_record(run_id=f"{name}1", defense=name, worst=count) for name, count in worst.items()]


def test_the_rank_is_the_lowest_worst_case_over_suites(make_record: Maker) -> None:
    frame = frame_of(
        [
            make_record(run_id="a1", defense="steady", worst=450),
            make_record(run_id="a2", defense="steady", worst=450, suite="blackbox@1"),
            make_record(run_id="b1", defense="lopsided", worst=600),
            make_record(run_id="b2", defense="lopsided", worst=300, suite="blackbox@1"),
        ]
    )
    assert list(frame["defense"]) == ["steady", "lopsided"]
    assert list(frame["rank"]) == [1, 2]
    assert list(frame["lowest"]) == [0.45, 0.3]
    assert list(frame["whitebox@1"]) == [0.45, 0.6]
    assert list(frame["blackbox@1_column"]) == ["pgd_20", "pgd_20"]
    assert list(frame["records"]) == ["a1, a2", "b1, b2"]


def test_a_row_is_one_training(make_record: Maker) -> None:
    frame = frame_of([make_record(run_id=f"r{seed}", seed=seed, worst=400 + seed) for seed in range(3)])
    assert list(frame["origin"]) == ["mean", *["measured"] * 3]
    assert list(frame["seed"][1:]) == [2, 1, 0] and list(frame["records"][1:]) == ["r2", "r1", "r0"]


def test_seeds_stand_below_their_mean_which_has_the_rank(make_record: Maker) -> None:
    of_seeds = {"steady": (440, 460), "lucky": (500, 340), "alone": (430,)}
    frame = frame_of(
        [
            make_record(run_id=f"{name}{seed}", defense=name, seed=seed, worst=worst)
            for name, counts in of_seeds.items()
            for seed, worst in enumerate(counts)
        ]
    )
    assert list(frame["defense"]) == ["steady"] * 3 + ["alone"] + ["lucky"] * 3
    assert [None if pd.isna(rank) else int(rank) for rank in frame["rank"]] == [
        *(1, None, None),
        *(2,),
        *(3, None, None),
    ]
    means = frame[frame["origin"] == "mean"]
    assert list(means["ranked"]) == [0.45, 0.42] and list(means["seeds"]) == [2, 2]
    # of the sample, by hand: half the distance of two values times the root of two
    assert list(means["ranked_sd"]) == pytest.approx([0.02 / 2**0.5, 0.16 / 2**0.5], abs=1e-6)
    assert means["whitebox@1_low"].isna().all() and means["records"].isna().all()
    assert frame["ranked_sd"][frame["origin"] == "measured"].isna().all()


def test_a_mean_is_told_in_markdown_and_of_a_seed_that_lacks_a_suite(make_record: Maker) -> None:
    records = [make_record(run_id=f"w{seed}", seed=seed, worst=400 + 20 * seed) for seed in range(2)]
    text = markdown(board([*records, make_record(run_id="b0", suite="blackbox@1", worst=390)]))
    (mean,) = [line for line in text.splitlines() if "mean of 2 seeds" in line]
    assert "41.0 ± 1.4" in mean and "39.0 (1 of 2)" in mean
    assert "a seed by itself has no rank" in text


@pytest.mark.parametrize("what", ["extra", "init"])
def test_trainings_that_differ_in_more_than_their_seed_have_no_mean(make_record: Maker, what: str) -> None:
    """Though name, architecture and recipe are equal: of one, images or weights of others are a part."""
    plain = {"seed": 0, "id": "a" * 12, "parents": {"teacher": "c" * 12}}
    other = {"seed": 1, "id": "b" * 12, "parents": {"teacher": "d" * 12}}
    for more, rows in (({}, 3), ({what: "e" * 12}, 2)):
        records = [
            make_record(run_id="r0", seed=0, spec={"training": plain}),
            make_record(run_id="r1", seed=1, spec={"training": {**other, **more}}),
        ]
        assert len(frame_of(records)) == rows
        together = board_latex(records, asked=PaperTable(over_seeds=True))
        assert ("$\\pm$" in together) == (not more)


def test_a_board_of_single_seeds_has_no_column_for_means(make_record: Maker) -> None:
    text = csv(board(one_suite(make_record, one=400, two=300)))
    assert "_sd" not in text and "mean" not in text and "seeds" not in text


def test_paired_tables_of_papers_rank_each_training(make_record: Maker) -> None:
    records = [make_record(run_id=f"r{seed}", seed=seed, worst=400 + seed) for seed in range(3)]
    frame = pd.read_csv(io.StringIO(csv(board(records, means=False))))
    assert list(frame["rank"]) == [1, 2, 3] and list(frame["seed"]) == [2, 1, 0]


def test_equal_figures_share_a_rank(make_record: Maker) -> None:
    worst = {"a": 400, "b": 500, "c": 400, "d": 300}
    frame = frame_of([make_record(run_id=name, defense=name, worst=count) for name, count in worst.items()])
    assert list(zip(frame["rank"], frame["defense"], strict=True)) == [(1, "b"), (2, "a"), (2, "c"), (4, "d")]


def test_missing_suites_rank_last_and_are_told(make_record: Maker) -> None:
    records = [
        make_record(run_id="a1", defense="complete", worst=100),
        make_record(run_id="a2", defense="complete", worst=100, suite="blackbox@1"),
        make_record(run_id="b1", defense="evader", worst=900),
        make_record(run_id="c1", defense="other", worst=90),
        make_record(run_id="c2", defense="other", worst=90, suite="blackbox@1"),
    ]
    table = board(records)
    assert [str(getattr(row[1], "text", "")) for row in table.rows] == ["complete", "other", "evader"]
    assert any(
        "evader (seed 0) is ranked after the complete rows: blackbox@1 was not run" in n for n in table.notes
    )
    assert "evader!" in terminal(table, 200)


def test_nobody_sinks_for_an_attack_that_most_were_spared(make_record: Maker) -> None:
    """Of three rows the best alone met a fourth suite, which took a few images more, within the interval."""
    records = [
        *one_suite(make_record, a=500, b=490, c=10),
        make_record(run_id="a2", defense="a", worst=480, suite="autoattack@1"),
    ]
    frame, table = frame_of(records), board(records)
    assert list(frame["defense"]) == ["a", "b", "c"] and list(frame["rank"]) == [1, 2, 3]
    assert list(frame["ranked"]) == [0.5, 0.49, 0.01] and list(frame["lowest"]) == [0.48, 0.49, 0.01]
    assert table.rows[0][1].mark == "+" and table.rows[1][1].mark == ""  # type: ignore[union-attr]
    (told,) = [note for note in table.notes if note.startswith("+ ")]
    assert "a (seed 0) falls to 48.0 % under autoattack@1" in told and "ranked by 50.0 [" in told
    assert any("over whitebox@1; autoattack@1, which too few rows met, only" in note for note in table.notes)
    assert "| ranked by % | lowest % |" in markdown(table)


def test_a_known_hole_is_not_forgiven(make_record: Maker) -> None:
    """The interval of 500 of 1,000 is [46.9, 53.1] %: 468 lie outside it, 470 inside."""
    for found, place in ((468, 3), (470, 1)):
        records = [
            *one_suite(make_record, a=500, b=490, c=480),
            make_record(run_id="a2", defense="a", worst=found, suite="autoattack@1"),
        ]
        frame = frame_of(records).set_index("defense")
        assert frame["rank"]["a"] == place and frame["lowest"]["a"] == found / 1000
        assert frame["ranked"]["a"] == (found / 1000 if place == 3 else 0.5)
        assert any("so it is ranked by it" in note for note in board(records).notes) == (place == 3)


def test_one_example_of_few_is_no_hole(make_record: Maker) -> None:
    """The interval of 1 of 1,000 begins above 0, and of 6 at 0.27 %: one example is chance, six are not."""
    for stood, fell_to, place in ((1, 0, 1), (5, 0, 1), (6, 0, 2)):
        records = [
            *one_suite(make_record, a=stood, b=0),
            make_record(run_id="a2", defense="a", worst=fell_to, suite="autoattack@1"),
            make_record(run_id="c", defense="c", worst=1),
        ]
        frame = frame_of(records).set_index("defense")
        assert (frame["ranked"]["a"] == fell_to / 1000) == (place == 2), stood


def test_a_suite_counts_once_more_than_half_met_it(make_record: Maker) -> None:
    def places(fast: str) -> list[str]:
        records = one_suite(make_record, a=500, b=490, c=480, d=470)
        records += [make_record(run_id=f"{n}2", defense=n, worst=450, suite="fast@1") for n in fast]
        return list(frame_of(records)["defense"])

    assert places("cd") == ["a", "b", "c", "d"]
    assert places("bcd") == ["b", "c", "d", "a"], "a lacks what most have met"


def test_an_adaptive_attack_counts_for_who_is_made_of_what_asks_for_it(make_record: Maker) -> None:
    noisy = {"defense": "noisy", "traits": ("randomized",), "eot_samples": 3}
    records = [
        make_record(run_id="a1", defense="plain", worst=500, eot_samples=1),
        make_record(run_id="a2", defense="plain", worst=485, eot_samples=1, suite="adaptive@1"),
        make_record(run_id="b1", worst=510, **noisy),
        make_record(run_id="b2", worst=490, suite="adaptive@1", **noisy),
        make_record(run_id="c1", defense="other", worst=495, eot_samples=1),
    ]
    frame = frame_of(records)
    assert list(frame["defense"]) == ["plain", "other", "noisy"]
    assert list(frame["ranked"]) == [0.5, 0.495, 0.49]
    assert any("and adaptive@1 where a defense is made of" in note for note in board(records).notes)
    assert list(frame_of(records[:4])["defense"]) == ["noisy", "plain"], "where all met it, it counts for all"


def test_failed_columns_rank_last(make_record: Maker, make_trial: Callable[..., Column]) -> None:
    lame = make_trial("apgd", robust=None, error="RuntimeError: x")
    table = board(
        [
            make_record(run_id="a", defense="lame", worst=900, columns=(make_trial(), lame), status="failed"),
            make_record(run_id="b", defense="sound", worst=10),
        ]
    )
    assert [row[1].text for row in table.rows] == ["sound", "lame"]  # type: ignore[union-attr]
    assert any("whitebox@1 failed in apgd" in note for note in table.notes)


def test_cost_is_the_sum_over_all_columns(make_record: Maker) -> None:
    frame = frame_of([make_record(run_id="a"), make_record(run_id="b", suite="blackbox@1")])
    assert frame["forwards"][0] == 4 * 21.5
    assert frame["backwards"][0] == 4 * 20.0
    assert frame["seconds"][0] == pytest.approx(4 * 3.14159)
    assert frame["training_seconds"][0] == 1234.5
    assert frame["parameters"][0] == 11_171_146


def test_findings_and_reconstructions_are_shown(make_record: Maker) -> None:
    findings = (Finding("z", "warn", "d"), Finding("a", "block", "d"), Finding("a", "block", "e"))
    table = board([make_record(findings=findings, reconstruction="the loss weights")])
    assert pd.read_csv(io.StringIO(csv(table)))["findings"][0] == "a, z"
    text = markdown(table)
    assert "[pgd\\_at](<https://arxiv.org/abs/1706.06083>) \\[1\\] |" in text
    assert "\\[1\\] pgd\\_at is a reconstruction: the loss weights" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"examples": 500, "worst": 200}, "500 examples"),
        ({"eps": "12/255"}, "Linf 12/255"),
        ({"norm": "L2"}, "L2 8/255"),
        ({"data": "svhn"}, "svhn"),
    ],
)
def test_what_differs_is_never_ranked_together(
    make_record: Maker, change: dict[str, object], told: str
) -> None:
    records = [make_record(run_id="a"), make_record(run_id="b", **change)]
    with pytest.raises(BadValue, match=told):
        board(records)
    assert len([name for name in board_files(records) if name.endswith(".md")]) == 2


def test_different_images_under_one_name_are_never_ranked_together(make_record: Maker) -> None:
    records = [make_record(run_id="a"), make_record(run_id="b", data_digest="eeee", defense="other")]
    with pytest.raises(BadValue, match="different images under the name 'cifar10'"):
        board(records)
    stems = {name for name in board_files(records) if name.endswith(".csv")}
    assert stems == {"cifar10-linf-8_255-d0d0d0d0d0d0.csv", "cifar10-linf-8_255-eeee.csv"}


def test_one_radius_in_two_spellings_is_one_board(make_record: Maker) -> None:
    records = [make_record(run_id="a", eps="0.2"), make_record(run_id="b", eps="1/5", defense="b")]
    assert set(board_files(records)) == {"cifar10-linf-0.2.md", "cifar10-linf-0.2.csv"}


def test_two_records_for_one_place_are_refused(make_record: Maker) -> None:
    with pytest.raises(BadValue, match="records a and b are both pgd_at"):
        board([make_record(run_id="a"), make_record(run_id="b")])


def test_a_custom_suite_has_a_column_of_its_own(make_record: Maker) -> None:
    custom = make_record(run_id="b", custom=True, spec={"suite": {"name": "whitebox", "chunk": 2}})
    suites = [
        c.name for c in board([make_record(run_id="a"), custom]).columns if c.name.startswith("whitebox@1")
    ]
    assert len({name.removesuffix("_column") for name in suites}) == 2


def test_no_record_is_an_error() -> None:
    with pytest.raises(BadValue, match="at least one record"):
        board([])


def test_the_order_of_records_changes_no_byte(sample: list[Record]) -> None:
    files = board_files(sample)
    random.Random(1).shuffle(sample)
    assert board_files([*sample, sample[0]]) == files


def test_the_largest_number_of_examples_has_the_plain_name(make_record: Maker) -> None:
    records = [make_record(run_id="a"), make_record(run_id="b", examples=100, worst=40)]
    assert {name for name in board_files(records) if name.endswith("md")} == {
        "cifar10-linf-8_255.md",
        "cifar10-linf-8_255-n100.md",
    }


def test_the_first_line_names_version_and_records(sample: list[Record]) -> None:
    text = board_files(sample)["cifar10-linf-8_255.md"]
    ids = "aaaaaaaaaaa1, aaaaaaaaaaa2, bbbbbbbbbbb1, bbbbbbbbbbb2, ccccccccccc1"
    assert text.splitlines()[0] == f"<!-- bench 0.1.0, from records {ids} -->"
    local = board_files(sample, local=True)["cifar10-linf-8_255.md"]
    assert local.startswith("<!-- local board, not published: bench 0.1.0")


def test_file_names_hold_no_separator() -> None:
    assert Setting("folder:my photos", "L2", Fraction("0.5"), 10).stem == "folder_my_photos-l2-0.5"


def test_a_black_box_that_beats_the_white_box_is_a_finding_of_the_board(
    make_record: Maker, make_trial: Callable[..., Column]
) -> None:
    def records(square: int) -> list[Record]:
        column = make_trial("square", square, level="black-box", knowledge="black-box, logits")
        return [
            make_record(run_id="a1", worst=400),
            make_record(run_id="a2", suite="blackbox@1", worst=square, columns=(column,)),
        ]

    table = board(records(380))
    assert any("square leaves 38.0 %, all white-box attacks together 40.0 %" in note for note in table.notes)
    assert list(frame_of(records(380))["findings"]) == ["black-box-beats-white-box"]
    assert frame_of(records(400))["findings"].isna().all(), "no less is no sign"


def chained(make_trial: Callable[..., Column], *left: int, **last: str) -> tuple[Column, ...]:
    """Columns c0, c1, ... of 800 right when clean, each on what the one before left; changes of the last."""
    columns = []
    for place, (before, count) in enumerate(zip((800, *left), left, strict=False)):
        after = f"c{place - 1}" if place else None
        columns.append(make_trial(f"c{place}", count, after=after, met=before, broke=before - count))
    return (*columns[:-1], dataclasses.replace(columns[-1], **last))


def test_the_worst_column_is_the_one_that_broke_most(
    make_record: Maker, make_trial: Callable[..., Column]
) -> None:
    """Of 800 the first broke 300, the second 20, the third 5: least is left by the third, not its work."""
    columns = chained(make_trial, 500, 480, 475)
    frame = frame_of([make_record(worst=475, suite="fast@1", columns=columns)])
    assert frame["fast@1_column"][0] == "c0"
    later = chained(make_trial, 790, 500, 475)
    assert frame_of([make_record(worst=475, suite="fast@1", columns=later)])["fast@1_column"][0] == "c1"


def test_who_goes_on_from_the_white_box_does_not_beat_it(
    make_record: Maker, make_trial: Callable[..., Column]
) -> None:
    """Its accuracy is that of both; where it goes on from its like, it is its own."""
    knows = {"level": "black-box", "knowledge": "black-box, logits"}
    white = make_record(run_id="a1", worst=400)
    mixed = make_record(
        run_id="a2", suite="mixed@1", worst=380, columns=chained(make_trial, 390, 380, **knows)
    )
    assert frame_of([white, mixed])["findings"].isna().all()
    less = tuple(dataclasses.replace(column, **knows) for column in mixed.columns)  # type: ignore[arg-type]
    alone = dataclasses.replace(mixed, columns=less)
    assert list(frame_of([white, alone])["findings"]) == ["black-box-beats-white-box"]


def test_ranks_with_ties_and_holes_by_hand(make_record: Maker) -> None:
    """Seven trainings; whitebox and fast count (7 and 5 of 7 met them), blackbox (3) does not.

    By the lower of the two: b 52, c 52, a 50, g 48; d failed to meet fast, so did f, both have 60 of the one
    that they met: behind all, and tied. e met fast alone of the two after whitebox 48: 48, tied with g.
    Blackbox takes c to 51.8, within its interval: told, not counted; and a to 30, a hole: its place is by 30.
    """
    figures = {
        "a": {"whitebox@1": 500, "fast@1": 510, "blackbox@1": 300},
        "b": {"whitebox@1": 520, "fast@1": 530},
        "c": {"whitebox@1": 540, "fast@1": 520, "blackbox@1": 518},
        "d": {"whitebox@1": 600},
        "e": {"whitebox@1": 480, "fast@1": 700},
        "f": {"whitebox@1": 600, "blackbox@1": 590},
        "g": {"whitebox@1": 490, "fast@1": 480},
    }
    records = [
        make_record(run_id=f"{name}{place}", defense=name, suite=suite, worst=worst)
        for name, held in figures.items()
        for place, (suite, worst) in enumerate(held.items())
    ]
    random.Random(0).shuffle(records)
    frame = frame_of(records)
    told = list(zip(frame["rank"], frame["defense"], frame["ranked"], frame["lowest"], strict=True))
    assert told == [
        (1, "b", 0.52, 0.52),
        (1, "c", 0.52, 0.518),
        (3, "e", 0.48, 0.48),
        (3, "g", 0.48, 0.48),
        (5, "a", 0.3, 0.3),
        (6, "d", 0.6, 0.6),
        (6, "f", 0.6, 0.59),
    ]
    marks = {cell.text: cell.mark for row in board(records).rows if isinstance(cell := row[1], Marked)}
    assert marks == {"a": "+", "b": "", "c": "+", "d": "!", "e": "", "f": "!+", "g": ""}


def test_published_ranks_follow_from_the_figures_beside_them() -> None:
    """Of each board: one more than the rows that are better, complete ones before all others."""
    for path in sorted(BOARDS.glob("*.csv")):
        frame = pd.read_csv(path, dtype={"records": str})
        suites = [name.removesuffix("_column") for name in frame if name.endswith("_column")]
        methods = frame[frame["rank"].notna()]
        for _, row in frame[frame["origin"] == "measured"].iterrows():
            assert row["lowest"] == row[suites].min(), "no images were imported"
            assert row["ranked"] >= row["lowest"]
        for _, row in methods.iterrows():
            assert row["rank"] == 1 + (methods["ranked"] > row["ranked"]).sum()
        assert methods["rank"].is_monotonic_increasing


def test_published_means_are_those_of_the_seeds_below_them() -> None:
    for path in sorted(BOARDS.glob("*.csv")):
        frame = pd.read_csv(path, dtype={"records": str})
        suites = [name.removesuffix("_column") for name in frame if name.endswith("_column")]
        for at in frame.index[frame["origin"] == "mean"]:
            seeds = frame.iloc[at + 1 : at + 1 + int(frame["seeds"][at])]
            assert set(seeds["defense"]) == {frame["defense"][at]} and seeds["rank"].isna().all()
            for name in ("clean", "ranked", "lowest", *suites):
                known = seeds[name].dropna()
                assert frame[name][at] == pytest.approx(known.mean(), abs=1e-6, nan_ok=True)
                assert frame[f"{name}_sd"][at] == pytest.approx(known.std(), abs=1e-6, nan_ok=True)


def test_what_was_published_stands_beside_what_was_measured(make_record: Maker) -> None:
    """AutoAttack's table: 44.04 % for Madry et al. on CIFAR-10 at 8/255; here 45.1 % are kept."""
    variant = make_record(run_id="b", defense="pgd_at[steps=3]", worst=300)
    table = board([make_record(run_id="a", worst=451), variant])
    frame = pd.read_csv(io.StringIO(csv(table)))
    assert frame["published"][0] == 0.4404 and frame["published"].isna()[1], "a variant claims nothing"
    assert frame["published_difference"][0] == pytest.approx(0.451 - 0.4404)
    assert frame["published_by"][0] == "measured" and frame["published_architecture"][0] == "WRN-34-10"
    assert "| 44.0 | +1.1 |" in markdown(table)
    elsewhere = board([make_record(eps="12/255")])
    assert pd.read_csv(io.StringIO(csv(elsewhere)))["published"].isna().all()
    assert "published" not in markdown(elsewhere)


def test_only_who_owes_an_adaptive_attack_lacks_one(make_record: Maker) -> None:
    records = [
        make_record(run_id="a", defense="plain", worst=500, eot_samples=1),
        make_record(run_id="b1", defense="noisy", worst=400, eot_samples=3, traits=("randomized",)),
        make_record(
            run_id="b2", defense="noisy", worst=300, eot_samples=3, traits=("randomized",), suite="adaptive@1"
        ),
        make_record(run_id="c", defense="shy", worst=900, eot_samples=3, traits=("randomized",)),
        make_record(run_id="d", defense="old", worst=950),
    ]
    table = board(records)
    assert [row[1].text for row in table.rows] == ["old", "plain", "noisy", "shy"]  # type: ignore[union-attr]
    (told,) = [note for note in table.notes if "was not run" in note]
    assert "shy (seed 0)" in told


def test_suites_stand_in_the_order_of_what_attackers_see(make_record: Maker) -> None:
    suites = ("autoattack@1", "blackbox@1", "fast@1", "graybox@1", "whitebox@1", "adaptive@1")
    table = board([make_record(run_id=suite[:3], suite=suite) for suite in suites])
    shown = [column.name for column in table.columns if column.name in suites]
    assert shown == ["whitebox@1", "graybox@1", "blackbox@1", "adaptive@1", "fast@1", "autoattack@1"]


def test_rows_of_others_stand_below_and_are_never_ranked(make_record: Maker) -> None:
    theirs = Published(
        *("Wong2020Fast", "Fast is better", "Wong et al.", "ICLR 2020", "https://arxiv.org/abs/2001.03994"),
        *("PreActResNet-18", "cifar10", "Linf", "8/255", 83.34, 43.21, 41.0),
    )
    elsewhere = dataclasses.replace(theirs, id="Elsewhere", eps="4/255")
    table = board([make_record(worst=100)], [elsewhere, theirs])
    frame = pd.read_csv(io.StringIO(csv(table)))
    assert list(frame["defense"]) == ["pgd_at", "Wong2020Fast"]
    assert list(frame["origin"]) == ["measured", "published"]
    assert frame["rank"][0] == 1 and frame["rank"].isna()[1], "although 41 % are more than 10 %"
    assert (frame["clean"][1], frame["autoattack@1"][1], frame["lowest"][1]) == (0.8334, 0.4321, 0.41)
    assert frame["clean_low"].isna()[1] and not frame["clean_low"].isna()[0]
    line = next(line for line in markdown(table).splitlines() if "Wong2020Fast" in line)
    assert line.startswith(
        "| - | *[Wong2020Fast](<https://arxiv.org/abs/2001.03994>) (published)* | *PreActResNet-18*"
    )
    assert "| *83.3* | - | *43.2* | *41.0* |" in line
    assert "was not run" not in str(table.notes), "their column makes none of ours incomplete"


def _at(eps: str, norm: str = "Linf") -> dict[str, Any]:
    return {"suite": {"name": "whitebox"}, "training": {"budget": {"norm": norm, "eps": eps}}}


def test_a_board_says_at_which_budget_its_rows_were_trained(make_record: Maker) -> None:
    same = [make_record(spec=_at("8/255")), make_record(run_id="2" * 12, defense="trades")]
    assert "trained at" not in markdown(board(same))
    assert [row["trained_at"] for row in values(board(same))] == ["Linf 8/255", None]
    other = make_record(run_id="3" * 12, defense="mart", spec=_at("1/2", "L2"))
    table = board([*same, other])
    assert "| trained at |" in markdown(table) and "| L2 0.5 |" in markdown(table)
    assert any(note.startswith("trained at: the budget in training") for note in table.notes)
    assert "trained at" in board_latex([*same, other])


def test_all_rows_trained_at_another_budget_is_in_the_caption_of_a_paper_s_table(make_record: Maker) -> None:
    rows = [make_record(run_id=f"{n}" * 12, defense=f"d{n}", spec=_at("4/255")) for n in (1, 2)]
    text = board_latex(rows)
    assert "trained at Linf 4/255" in text and "trained at &" not in text
    assert "trained at" not in board_latex([make_record(spec=_at("8/255"))])


def test_notes_tell_two_trainings_of_one_seed_apart(make_record: Maker) -> None:
    rows = [
        make_record(run_id=f"{n}" * 12, training=dataclasses.replace(make_record().training, training_id=eps),
                    spec=_at(eps), traits=("randomized",), eot_samples=20)
        for n, eps in enumerate(("8/255", "4/255"), start=1)
    ]  # fmt: skip
    notes = "\n".join(board(rows).notes)
    assert "pgd_at (seed 0) owes" in notes and "pgd_at (seed 0, trained at Linf 4/255) owes" in notes


def test_weights_of_others_were_trained_at_no_budget_that_we_know(make_record: Maker) -> None:
    trained = dataclasses.replace(make_record().training, recipe="loaded", epochs=0)
    loaded = make_record(training=trained, spec=_at("4/255"))
    assert loaded.trained_at is None and loaded.recipe == "loaded"
    assert make_record(training=None, spec=_at("4/255")).recipe == "nothing was trained"
    assert make_record(eps="0.2", spec=_at("1/5")).recipe == "short"  # the same radius
    assert make_record(spec=_at("4/255")).recipe == "short, trained at Linf 4/255"
