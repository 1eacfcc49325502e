"""The majority vote of FER+, against examples worked by hand and the rules written out as loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionkit_datasets.ferplus_votes import COLUMNS, UNKNOWN, majority

NEUTRAL, HAPPINESS, SURPRISE, SADNESS, ANGER, DISGUST, FEAR, CONTEMPT, UNKNOWN_COLUMN, NF = range(10)


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        # The first rows of the published votes of the validation part, worked by hand.
        ([4, 0, 0, 0, 1, 0, 0, 4, 1, 0], UNKNOWN),  # lone votes go: 4 of 8 is not more than half
        ([1, 0, 0, 1, 0, 2, 0, 6, 0, 0], CONTEMPT),  # 6 of 8
        ([7, 0, 0, 0, 2, 0, 0, 1, 0, 0], NEUTRAL),  # 7 of 9
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], UNKNOWN),  # a tie
        ([0, 10, 0, 0, 0, 0, 0, 0, 0, 0], HAPPINESS),
        ([4, 0, 1, 2, 0, 0, 0, 0, 3, 0], UNKNOWN),  # 4 of 9
        ([0, 1, 0, 6, 0, 0, 3, 0, 0, 0], SADNESS),  # 6 of 9
        ([5, 0, 2, 0, 1, 1, 1, 0, 0, 0], NEUTRAL),  # 5 of 7, though 5 of 10 would not do
        # Rules that those rows do not reach.
        ([0, 0, 0, 0, 0, 0, 0, 0, 7, 3], UNKNOWN),
        ([0, 0, 0, 0, 0, 2, 0, 0, 0, 8], NF),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], UNKNOWN),  # nothing remains
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], UNKNOWN),
        ([0, 0, 0, 0, 0, 0, 2, 0, 1, 1], FEAR),  # 2 of 2
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], UNKNOWN),  # votes for unknown count in the whole
    ],
)
def test_examples_worked_by_hand(votes, winner):
    assert majority(np.array([votes])).tolist() == [winner]


@given(st.lists(st.lists(st.integers(0, 10), min_size=10, max_size=10), max_size=8))
def test_it_is_the_rules_written_out(table):
    expected = []
    for row in table:
        counted = [votes if votes > 1 else 0 for votes in row]
        winners = [place for place, votes in enumerate(counted) if votes > sum(counted) / 2]
        assert len(winners) <= 1
        expected.append(winners[0] if winners else UNKNOWN)
    assert majority(np.array(table, dtype=np.int64).reshape(-1, 10)).tolist() == expected


def test_unknown_is_the_column_of_that_name():
    assert COLUMNS[UNKNOWN] == "unknown"
    assert COLUMNS[NF] == "NF"
