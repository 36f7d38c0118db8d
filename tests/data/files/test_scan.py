import pytest

from nas.data.files.scan import scan_frames
from nas.errors import DataError


def test_every_frame_is_read_once_and_what_was_read_is_in_order():
    seen = []

    def read(index):
        seen.append(index)
        return 2 * index

    assert scan_frames(read, 50) == list(range(0, 100, 2))
    assert sorted(seen) == list(range(50))


def test_the_first_fault_is_reported_whichever_thread_is_first():
    def read(index):
        if index in (31, 7, 40):
            raise DataError(f"frame {index}")

    with pytest.raises(DataError, match=r"^frame 7 \(2 more of 50 images are broken\)$"):
        scan_frames(read, 50)


def test_faults_of_the_program_are_not_taken_for_bad_data():
    with pytest.raises(ZeroDivisionError):
        scan_frames(lambda index: 1 // index, 3)
