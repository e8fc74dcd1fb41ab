"""Names of scored rows: those of records, whatever the batch."""

from engine.domain.record import id_parts, row_id
from engine.scoring.names import BLOCK_ROWS, block_id, row_ids


def test_a_row_has_the_name_that_its_record_has() -> None:
    names = row_ids("run", 0, 2 * BLOCK_ROWS + 1).to_pylist()
    assert names[0] == row_id(block_id("run", 0), 0)
    assert names[BLOCK_ROWS - 1] == row_id(block_id("run", 0), BLOCK_ROWS - 1)
    assert names[-1] == row_id(block_id("run", 2), 0)


def test_a_row_has_the_same_name_in_whatever_batch_it_comes() -> None:
    whole = row_ids("run", 0, 5_000).to_pylist()
    assert row_ids("run", 1_500, 1_777).to_pylist() == whole[1_500:3_277]
    assert row_ids("run", 1_500, 0).to_pylist() == []
    assert len({*whole}) == 5_000


def test_names_are_in_the_order_of_the_rows_block_by_block() -> None:
    blocks = [id_parts(name)[0] for name in row_ids("run", 0, 12_000).to_pylist()]
    assert blocks == sorted(blocks)


def test_more_rows_than_a_record_has_digits_for_have_names_of_records() -> None:
    (name,) = row_ids("run", 123_456_789_012, 1).to_pylist()
    assert id_parts(name) == (block_id("run", 123_456_789), 12)
