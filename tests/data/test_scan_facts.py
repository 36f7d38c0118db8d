import numpy as np

from nas.data.scan_facts import FrameFacts, ScanFacts, facts_of, label_counts


def test_counts_are_those_of_a_loop_over_the_pixels():
    label = np.random.default_rng(0).choice(np.array([0, 1, 2, 4, 255], np.uint8), (37, 23))
    counts = label_counts(label, 5)
    assert counts.tolist() == [int((label == value).sum()) for value in (0, 1, 2, 3, 4, 255)]
    assert counts.dtype == np.int64


def test_counts_are_exact_beyond_what_float32_holds():
    label = np.zeros((4097, 4096), np.uint8)
    label[0, 0] = 255
    assert label_counts(label, 2).tolist() == [4097 * 4096 - 1, 0, 1]


def test_the_facts_of_a_split_add_up_its_images_and_can_be_taken_apart():
    facts = facts_of([FrameFacts(np.array(counts)) for counts in ([3, 0, 1], [0, 2, 2], [0, 0, 4])])
    assert facts.images == 3
    assert facts.pixels.tolist() == [3, 2]
    assert facts.void == 7
    part = facts.part([2, 1])
    assert (part.images, part.pixels.tolist(), part.void) == (2, [0, 2], 6)


def test_where_labels_are_not_counted_nothing_is_known_of_a_part_either():
    facts = ScanFacts(4)
    assert facts.pixels is None
    assert facts.void is None
    assert facts.part([1, 3]).images == 2
    assert facts.part([1, 3]).pixels is None
