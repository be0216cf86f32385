from __future__ import annotations

import numpy as np
import pytest

from xsam_edge.runtime.language.speculative import (
    LOOKUP_LENGTH,
    MAX_DRAFT,
    NO_DRAFT,
    Drafter,
    abstract,
    accept,
    fill,
    prompt_lookup,
)

STOP = 9


def stops(ids: list[int]) -> bool:
    return ids[-1] == STOP


def greedy(said: list[int], count: int) -> list[int]:
    """A model whose choices depend on all that was read, so that one wrong id changes every later choice."""
    ids = list(said)
    for _ in range(count):
        ids.append((sum(ids) * 7 + len(ids)) % 8)
    return ids[len(said) :]


@pytest.mark.parametrize("wrong", [*range(6), None])
def test_as_much_is_taken_as_agrees(wrong: int | None) -> None:
    said = [3]
    truth = greedy(said, 7)
    draft = truth[:6]
    if wrong is not None:
        draft[wrong] += 1
    chosen = [greedy(said + draft[:place], 1)[0] for place in range(7)]
    assert accept(draft, chosen, stops) == truth[: 7 if wrong is None else wrong + 1]


def test_nothing_is_taken_behind_a_stop() -> None:
    assert accept([1, STOP, 2], [1, STOP, 2, 3], stops) == [1, STOP]
    assert accept([], [5], stops) == [5]
    assert accept([STOP], [STOP, 4], stops) == [STOP]


def test_a_stop_may_begin_in_what_was_said_before() -> None:
    assert accept([1, 2], [1, 2, 3], lambda ids: ids[-2:] == [7, 1], [7]) == [1]


def test_what_followed_last_time_is_looked_up() -> None:
    assert prompt_lookup([1, 2, 3, 1, 2], []) == [3, 1, 2]
    assert prompt_lookup([4, 5], [4, 5, 6, 7, 8, 9, 10, 11]) == [6, 7, 8, 9, 10][:LOOKUP_LENGTH]
    # A longer match is better than a later one, a later one than an earlier one.
    assert prompt_lookup([1, 2, 5, 0, 2, 7, 1, 2], [])[0] == 5
    assert prompt_lookup([2, 5, 2, 7, 2], [])[0] == 7
    assert prompt_lookup([1, 2, 3], [4, 5]) == []
    assert prompt_lookup([1], []) == []


PHRASES = [np.array([20, 21]), np.array([20]), np.array([30])]


def test_phrases_become_gaps_and_back() -> None:
    answer = np.array([1, 20, 21, 2, 20, 3, 30])
    assert abstract(answer, PHRASES) == (1, -1, 2, -2, 3, -3)
    np.testing.assert_array_equal(fill(abstract(answer, PHRASES), PHRASES), answer)
    other = [np.array([40]), np.array([41, 42, 43]), np.array([44])]
    np.testing.assert_array_equal(fill(abstract(answer, PHRASES), other), [1, 40, 2, 41, 42, 43, 3, 44])


def test_a_gap_without_text_ends_a_draft() -> None:
    form = abstract(np.array([1, 20, 21, 2]), PHRASES)
    np.testing.assert_array_equal(fill(form, []), [1])
    np.testing.assert_array_equal(fill(form, [np.array([-300])]), [1])
    assert abstract(np.array([1, 2]), [np.array([-300]), np.array([], np.int64)]) == (1, 2)


def test_a_drafter_knows_the_last_answer_of_each_task() -> None:
    drafter = Drafter()
    known = np.array([5, 6])
    np.testing.assert_array_equal(drafter.draft("a", PHRASES, known), known)
    assert len(drafter.draft("a", PHRASES)) == 0 and drafter.last_answer("a") == []
    drafter.record("a", PHRASES, np.array([1, 30, 2]))
    np.testing.assert_array_equal(drafter.draft("a", [NO_DRAFT, NO_DRAFT, np.array([8, 9])], known), [1, 8, 9, 2])
    np.testing.assert_array_equal(drafter.draft("b", PHRASES, known), known)
    assert drafter.last_answer("a") == [1, 30, 2]
    drafter.record("a", PHRASES, np.arange(MAX_DRAFT + 5))
    assert len(drafter.draft("a", PHRASES, known)) == MAX_DRAFT
