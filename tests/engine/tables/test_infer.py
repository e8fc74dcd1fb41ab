"""What is read off somebody's table, and what is refused with a way out."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.domain.columns import Category, Column, Number
from engine.domain.errors import UnusableTable
from engine.domain.kinds import BINARY, POSITIVE, REAL
from engine.domain.schema import Target
from engine.reports.kinds import SHOWN
from engine.tables.infer import Inferred, infer
from engine.tables.moments import as_times, timed

ROWS = 300


def flats(**columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    area = rng.normal(75, 20, ROWS).clip(20).round(1)
    return pd.DataFrame(
        {
            "Living Area": area,
            "rooms": np.ceil(area / 25),
            "district": rng.choice(["north", "centre", "harbour"], ROWS, p=[0.3, 0.5, 0.2]),
            "price": (3_000 * area * np.exp(rng.normal(0, 0.2, ROWS))).round(-2),
            **columns,
        }
    )


def column(frame: pd.DataFrame, name: str) -> Column:
    return next(c for c in inferred(frame).schema.columns if c.name == name)


def inferred(frame: pd.DataFrame, target: str = "price", **wishes: Any) -> Inferred:
    return infer(frame, target, source="flats.csv", **wishes)


def target(values: Any, **wishes: Any) -> Target:
    return inferred(flats(goal=values), "goal", **wishes).target


def refusal(frame: pd.DataFrame, wanted: str = "price", **wishes: Any) -> list[str]:
    """The findings, one a line."""
    with pytest.raises(UnusableTable) as raised:
        inferred(frame, wanted, **wishes)
    return [line.strip(" -") for line in str(raised.value).splitlines()[1:]]


def every(*values: Any) -> list[Any]:
    """These values in turn."""
    return [values[row % len(values)] for row in range(ROWS)]


def test_columns_are_numbers_or_categories_and_keep_their_names() -> None:
    area, rooms, district = inferred(flats()).schema.columns
    assert isinstance(area, Number)
    assert isinstance(rooms, Number)
    assert isinstance(district, Category)
    assert (area.name, area.is_whole, rooms.is_whole) == ("Living Area", False, True)
    assert district.categories == ("centre", "north", "harbour")


def test_what_is_missing_somewhere_may_be_missing() -> None:
    frame = flats(floor=every(1, 2, 3, None), lift=every("yes", "no", None, "  "))
    found = {c.name: c.may_be_missing for c in inferred(frame).schema.columns}
    assert found == {"Living Area": False, "rooms": False, "district": False} | {
        "floor": True,
        "lift": True,
    }


def test_booleans_are_categories_as_the_table_writes_them() -> None:
    frame = flats(balcony=every(True, False, False), lift=every(True, None, False))
    assert column(frame, "balcony").categories == ("False", "True")
    assert set(column(frame, "lift").categories) == {"False", "True"}


def test_a_few_bad_cells_leave_a_number_a_number() -> None:
    numbers = [str(row) for row in range(ROWS)]
    assert isinstance(column(flats(size=["?", *numbers[1:]]), "size"), Number)
    (finding, *_) = refusal(flats(size=["?"] * 60 + numbers[60:]))
    assert "size is a number in 80% of its cells, and '?' elsewhere" in finding


def test_many_different_whole_numbers_are_measurements_that_were_rounded() -> None:
    counts, lengths = column(flats(a=every(*range(100))), "a"), column(flats(a=range(ROWS)), "a")
    assert (counts.is_whole, lengths.is_whole) == (True, False)


def test_what_was_seen_of_a_number_is_kept() -> None:
    floor = column(flats(floor=every(-3, 2, 7)), "floor")
    assert (floor.low, floor.high) == (-3, 7)


def test_the_example_is_a_complete_row_of_the_table() -> None:
    frame = flats(floor=every(1, 2, 3, None))
    example = inferred(frame).schema.example
    rows = frame.drop(columns="price").to_dict("records")
    assert example in rows
    assert abs(example["Living Area"] - frame["Living Area"].median()) < frame["Living Area"].std()
    assert example["district"] == "centre"


@pytest.mark.parametrize(
    ("values", "wishes", "kind", "labels"),
    [
        (every(0, 1), {}, BINARY, None),
        (every(0.0, 1.0, 1.0), {}, BINARY, None),
        (every(True, False), {}, BINARY, ("False", "True")),
        (every("no", "yes"), {}, BINARY, ("no", "yes")),
        (every("Y", "Z"), {}, BINARY, ("Z", "Y")),
        (every("rain", "sun"), {}, BINARY, ("rain", "sun")),
        (every("rain", "sun"), {"positive": "rain"}, BINARY, ("sun", "rain")),
        (every(1, 2, 3), {}, POSITIVE, None),
        (every(0, 1, 2), {}, REAL, None),
        (every(-1.5, 1, 2), {}, REAL, None),
    ],
)
def test_the_kind_of_target_follows_from_its_values(
    values: list[Any], wishes: dict[str, Any], kind: str, labels: tuple[str, str] | None
) -> None:
    found = target(values, **wishes)
    assert (found.kind, found.labels) == (kind, labels)


def test_the_truth_may_lie_far_beyond_what_was_seen() -> None:
    price, change = target(every(10.0, 20.0, 30.0)), target(every(-10.0, 0.0, 10.0))
    assert (price.low, price.high) == (1, 300)
    assert (change.low, change.high) == (-210, 210)


DATES = pd.date_range("2020-01-01", periods=ROWS)
WRITTEN = {
    "as text": DATES.astype(str),
    "as dates": DATES,
    "as numbers": DATES.strftime("%Y%m%d").astype(int),
    "with dots": DATES.strftime("%d.%m.%Y"),
    "with dashes": DATES.strftime("%d-%m-%Y"),
    "in America": DATES.strftime("%m/%d/%Y %I:%M %p"),
    "in words": DATES.strftime("%d %b %Y"),
    "with a clock": DATES.strftime("%Y%m%dT000000"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_dates_order_the_rows_and_are_no_features(case: str) -> None:
    shuffled = flats(**{"sold on": WRITTEN[case]}).sample(frac=1, random_state=1)
    found = inferred(shuffled)
    assert (found.order, found.ignored) == (("sold on",), ("sold on",))
    assert found.schema.names == ("Living Area", "rooms", "district")
    days = as_times(timed(shuffled, found.order, "flats.csv")["time"])
    assert (days.to_numpy() == 86_400 * shuffled.index + days.min()).all()


@pytest.mark.parametrize(
    ("columns", "order"),
    [
        ({"when": DATES, "date": DATES}, ("date",)),
        ({"birth_date": DATES}, ()),
        (
            {"last_seen": [None, *DATES[1:]], "gaps": every("2020-01-01", "2020-01-02", None)},
            ("last_seen",),
        ),
        (
            {"Year": every(2020, 2021), "MONTH": every(1, 2, 3), "day": every(1, 2, 3, 4)},
            ("Year", "MONTH", "day"),
        ),
        ({"year": every(1990, 2000), "day": every(1, 2, 3)}, ()),
        ({"time": range(ROWS), "date": DATES}, ("time",)),
    ],
)
def test_what_says_when_a_row_happened_is_found(
    columns: dict[str, Any], order: tuple[str, ...]
) -> None:
    """A year alone may be that of a car, and dates with gaps are of something else."""
    assert inferred(flats(**columns)).order == order
    without = {name: values for name, values in columns.items() if name != "time"}
    assert inferred(flats(**without), order=()).order == ()


def test_calendar_columns_stay_features_and_say_the_moment() -> None:
    hours = pd.date_range("2019-12-25", periods=ROWS, freq="h")
    frame = flats(year=hours.year, month=hours.month, day=hours.day, hour=hours.hour)
    found = inferred(frame)
    order = ("year", "month", "day", "hour")
    assert set(order) == set(found.order) & set(found.schema.names)
    moments = as_times(timed(frame, order, "flats.csv")["time"])
    assert (np.diff(moments) == 3_600).all()


def test_a_column_that_somebody_names_orders_the_rows() -> None:
    found = inferred(flats(round=range(ROWS)), order=["round"])
    assert (found.order, found.ignored) == (("round",), ("round",))
    (missing,) = refusal(flats(), order=["when"])
    assert missing == "time: there is no column when"
    (several, *_) = refusal(flats(when=DATES), order=["rooms", "when"])
    assert several.startswith("time: several columns must be year and month")


@pytest.mark.parametrize("name", ["sorted", "a slow wave"])
def test_rows_that_are_like_their_neighbours_are_warned_about(name: str) -> None:
    prices = flats()["price"].sort_values().to_numpy()
    wave = 1e5 * (2 + np.sin(np.arange(ROWS) / 20))
    (warning,) = inferred(flats(price={"sorted": prices, "a slow wave": wave}[name])).warnings
    assert warning.startswith("neighbouring rows are alike (rank correlation 1.0")
    assert "--time" in warning
    assert inferred(flats(price=prices, when=DATES)).warnings == ()


UNFIT = {
    "money": ([f"${row}" for row in range(ROWS)], "writes numbers as texts, such as '$0'"),
    "thousands": (every("1,234", "22,100", "7"), "writes numbers as texts, such as '1,234'"),
    "shares": (every("12%", "3%"), "writes numbers as texts, such as '12%'"),
    "one value": (every(7), "says '7' in every row"),
    "one value or none": (every("yes", None), "says 'yes', or is empty: write what"),
    "nothing": (every(None), "is empty in every row"),
    "text": ([f"a flat with {n} fine rooms" for n in range(ROWS)], "is free text"),
    "names": ([f"A{row}" for row in range(ROWS)], "has 300 different texts (a name or an id"),
    "many": (every(*(f"A{row}" for row in range(101))), "has 101 different texts (more than 100"),
    "long": (every("a" * 201, "b"), "has texts longer than 200 characters"),
    "infinity": (every(1, 2, np.inf), "holds numbers beyond 1e+30, or infinite ones"),
    "thousands in India": (every("1,00,000", "2,50,000"), "writes numbers as texts"),
    "decimal commas": (every("1.234,5", "12,5"), "writes numbers as texts, such as '1.234,5'"),
    "money in letters": (every("EUR 5", "EUR 1'200"), "writes numbers as texts, such as 'EUR 5'"),
    "losses": (every("(1,234)", "$5k", "3"), "writes numbers as texts"),
    "lists": (every([1], [2]), "holds values of the type list"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_column_of_no_use_is_refused_with_a_way_out(case: str) -> None:
    values, reason = UNFIT[case]
    finding, way_out = refusal(flats(it=values))
    assert finding.startswith(f"it {reason}")
    assert way_out.endswith("--drop it")
    assert inferred(flats(it=values), drop=["it"]).schema == inferred(flats()).schema


BAD_TARGETS = {
    "three texts": (every("a", "b", "c"), {}, "has 3 different texts"),
    "one value": (every(5), {}, "says '5' in every row"),
    "neither 0 nor 1": (every(1, 2), {}, "is 1 or 2: write 0 and 1"),
    "money": (every("$1", "$2", "$3"), {}, "writes numbers as texts"),
    "dates": (DATES, {}, "holds dates"),
    "never that": (
        every("a", "b"),
        {"positive": "c"},
        "is never 'c': --positive must be 'a' or 'b'",
    ),
    "a quantity": (every(1, 2, 3), {"positive": "1"}, "is a number with 3 values"),
    "zero is what happens": (every(0, 1), {"positive": "0"}, "is 0 or 1, where 1 is what"),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_a_target_that_cannot_be_predicted_is_refused(case: str) -> None:
    values, wishes, reason = BAD_TARGETS[case]
    assert refusal(flats(goal=values), "goal", **wishes)[0].startswith(f"goal {reason}")


def test_all_findings_come_at_once_with_one_way_out() -> None:
    frame = flats(**{"sold for": every("$5", "$6"), "Unnamed: 0": every(1.5, 2.5), "c": 1})
    findings = refusal(frame, "prise", drop=["room"])
    assert findings == [
        "there is no column prise: did you mean price?",
        "there is no column room: did you mean rooms?",
        "column 6 has no name: give it one, or --drop 'Unnamed: 0'",
        "sold for writes numbers as texts, such as '$5': write them as 1234.5, with no sign, or as "
        "words, if they are names",
        "c says '1' in every row",
        "to train without the columns that cannot be used: --drop 'Unnamed: 0' 'sold for' c",
    ]


@pytest.mark.parametrize(
    ("frame", "wishes", "reason"),
    [
        (flats().head(199), {}, "it has 199 rows; intervals need at least 200"),
        (
            flats(price=every(1, 2, 3, None)).head(260),
            {},
            "it has 195 rows with price; intervals need at least 200",
        ),
        (flats()[["price"]], {}, "no column is left to predict from"),
        (flats(), {"drop": ["price"]}, "price is the target and cannot be dropped"),
        (flats(time=range(ROWS)), {"drop": ["time"]}, "time has a meaning of its own"),
        (
            flats(**{f"x{n}": every(1.5, 2.5) for n in range(998)}),
            {},
            "it has 1,001 columns, more than 1,000: keep those that matter",
        ),
    ],
)
def test_a_table_of_the_wrong_size_or_wish_is_refused(
    frame: pd.DataFrame, wishes: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(frame, **wishes)[0]


def test_ways_on_never_leave_a_table_without_columns() -> None:
    assert refusal(flats()[["price"]].assign(it=1)) == [
        "it says '1' in every row",
        "no column is left to predict from",
    ]


@pytest.mark.parametrize(
    "values",
    [
        [f"SKU{row % 90}" for row in range(ROWS)],
        every("DHL001", "DHL002"),
        every("k1", "m2", "M3"),
        every("1.5.2", "1.5.3", "2.0.0"),
        every("10.0.0.1", "10.0.0.2"),
        every("555-1234", "555-9876"),
        every("EUR5", "A-1"),
    ],
)
def test_names_with_digits_are_names(values: list[str]) -> None:
    assert set(column(flats(it=values), "it").categories) == set(values)


def test_numbers_that_the_file_declares_as_categories_are_categories() -> None:
    frame = flats(zone=pd.Categorical(every(3, 1, 1, None)))
    zone = column(frame, "zone")
    assert isinstance(zone, Category)
    assert (zone.categories, zone.may_be_missing) == (("1", "3"), True)


def test_blanks_around_a_name_are_no_part_of_it() -> None:
    assert column(flats(side=every("left", "right ", " left")), "side").categories == (
        "left",
        "right",
    )
    assert target(every("no", "yes", "no ", " yes")).labels == ("no", "yes")


def test_rows_without_a_target_say_nothing() -> None:
    frame = flats(price=every(1.0, 2.0, 3.0, None), it=every(1, 2, 1, 900))
    found = inferred(frame)
    assert (found.target.kind, column(frame, "it").high) == (POSITIVE, 2)
    assert found.warnings == ("price is missing in 75 of 300 rows: nothing is learned from them",)


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", ""])
def test_an_index_that_a_program_wrote_is_left_out(name: str) -> None:
    found = inferred(flats(**{name: range(1, ROWS + 1)}))
    assert found.schema == inferred(flats()).schema
    assert found.warnings == (f"column {name!r} only numbers the rows and is left out",)


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (every("soon", "late"), "time is not a time, such as 'soon', in 100% of the rows"),
        (every("2024-01-31", "soon"), "time is not a time, such as 'soon', in 50% of the rows"),
        (every(1.5, 2.5, None), "time is empty in 33% of the rows"),
    ],
)
def test_times_that_order_nothing_are_noticed_at_once(times: Any, reason: str) -> None:
    (finding,) = refusal(flats(time=times))
    assert finding.startswith(f"{reason}: write numbers or dates, such as 2024-01-31")


def test_a_few_rows_without_a_time_are_left_to_the_report() -> None:
    assert inferred(flats(time=[None, *range(ROWS - 1)])).order == ("time",)


def test_group_and_time_are_no_features() -> None:
    found = inferred(flats(group=every("a", "b"), time=DATES.astype(str)))
    assert found.schema.names == ("Living Area", "rooms", "district")
    assert (found.order, found.ignored) == (("time",), ("group", "time"))


@pytest.mark.parametrize(
    ("name", "values"),
    [("number", range(ROWS)), ("customer_id", every(7, 8, 9)), ("flatId", every(7, 8, 9))],
)
def test_ids_are_warned_about(name: str, values: Any) -> None:
    (warning,) = inferred(flats(**{name: values})).warnings
    assert warning.startswith(f"{name} looks like an id")
    assert f"--drop {name}" in warning


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(1, 2, ROWS) * 1e-300,
        2.0**53 + 2 * np.random.default_rng(3).permutation(ROWS),
        1.7e9 + np.random.default_rng(3).uniform(0, 1_000, ROWS),
    ],
)
def test_numbers_that_trees_cannot_tell_apart_are_warned_about(values: Any) -> None:
    warnings = inferred(flats(it=values)).warnings
    assert "it has different values that a model cannot tell apart" in warnings[-1]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (every(0, 1), "the probability of '1', not '0'"),
        (every("no", "yes"), "the probability of 'yes', not 'no' (--positive swaps them)"),
        (every(1, 2, 3), "a positive number, judged by its ratio to the truth"),
        (every(-1, 2, 3), "a number, judged by its distance from the truth"),
    ],
)
def test_what_is_predicted_is_told_in_words_before_anything_is_trained(
    values: list[Any], told: str
) -> None:
    goal = target(values)
    assert SHOWN[goal.kind].aim(goal) == told


def test_ordinary_columns_are_not_warned_about() -> None:
    assert inferred(flats(paid=every(1, 2), valid=every(3, 4, 5))).warnings == ()


@pytest.mark.parametrize("leak", ["scaled", "ranked", "category", "missing"])
def test_a_column_that_knows_the_target_is_warned_about(leak: str) -> None:
    price = flats()["price"]
    fast = price > price.median()
    columns = {
        "scaled": -0.93 * price,
        "ranked": price.rank() / 7,
        "category": fast.map({True: "gone", False: "listed"}),
        "missing": price.map(lambda p: p % 7).where(fast),
    }
    if leak in {"category", "missing"}:
        frame = flats(fast=fast, it=columns[leak]).drop(columns="price")
        found = inferred(frame, "fast")
    else:
        found = inferred(flats(it=columns[leak]))
    (warning,) = found.warnings
    assert warning.startswith("it tells the target almost alone")


def test_coverage_is_watched_in_the_numbers_that_tell_most() -> None:
    rng = np.random.default_rng(1)
    frame = flats(noise=rng.normal(size=ROWS), gaps=[None, *rng.normal(size=ROWS - 1)])
    assert inferred(frame).slices == ("Living Area", "noise")
