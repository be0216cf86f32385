import numpy as np
import pytest

from xsam_edge.runtime.tracking.kalman import Motion

ONE = np.array([0])


def square(x: float, y: float = 50.0, side: float = 20.0) -> np.ndarray:
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])


def follow(xs: list[float], seconds: float) -> Motion:
    motion = Motion.begin(square(xs[0]))
    for x in xs[1:]:
        motion = motion.predict(seconds).update(ONE, square(x))
    return motion


def test_a_box_that_was_seen_once_stays_where_it_is() -> None:
    motion = Motion.begin(square(30))
    np.testing.assert_allclose(motion.predict(2.0).boxes, square(30))


@pytest.mark.parametrize("seconds", [0.1, 1.0])
def test_a_constant_velocity_is_found(seconds: float) -> None:
    motion = follow([30 + 10 * seconds * step for step in range(30)], seconds)
    np.testing.assert_allclose(motion.velocities[0], [10, 0, 0, 0], atol=0.5)
    expected = 30 + 10 * seconds * 29 + 10 * 3.0
    np.testing.assert_allclose(motion.predict(3.0).boxes, square(expected), atol=2)


def test_two_steps_are_as_one_of_both() -> None:
    motion = follow([30, 32, 34, 36], 0.1)
    twice, once = motion.predict(0.1).predict(0.3), motion.predict(0.4)
    np.testing.assert_allclose(twice.boxes, once.boxes)
    np.testing.assert_allclose(twice.variances, once.variances)


def test_time_makes_uncertain_and_a_box_certain() -> None:
    motion = follow([30, 32, 34], 0.1)
    later = motion.predict(1.0)
    assert (later.variances[..., 0] > motion.variances[..., 0]).all()
    assert (later.update(ONE, square(36)).variances[..., 0] < later.variances[..., 0]).all()


def test_variances_are_those_of_a_kalman_filter() -> None:
    # The textbook's matrices, for one coordinate of a box of 20 pixels.
    motion = Motion.begin(square(30))
    covariance = np.array([[motion.variances[0, 0, 0], 0], [0, motion.variances[0, 0, 2]]])
    state = np.array([30.0, 0.0])
    noise, jolt = (20 * 0.1) ** 2, (20 * 0.4) ** 2
    for x, dt in ((33.0, 0.1), (35.0, 0.25), (41.0, 0.1)):
        step = np.array([[1, dt], [0, 1]])
        state = step @ state
        covariance = step @ covariance @ step.T + jolt * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        gain = covariance[:, 0] / (covariance[0, 0] + noise)
        state = state + gain * (x - state[0])
        covariance = covariance - np.outer(gain, covariance[0])
        motion = motion.predict(dt).update(ONE, square(x))
        assert motion.places[0, 0] == pytest.approx(state[0])
        assert motion.velocities[0, 0] == pytest.approx(state[1])
        np.testing.assert_allclose(motion.variances[0, 0], [covariance[0, 0], covariance[0, 1], covariance[1, 1]])


def test_a_box_of_another_size_moves_less() -> None:
    motion = follow([30, 30, 30], 0.1).predict(0.1)
    half = np.array([[30.0, 40.0, 40.0, 60.0]])  # the right half of it, whose middle is at 35
    whole = motion.update(ONE, square(35)).places[0, 0] - 30
    assert 0 < motion.update(ONE, half).places[0, 0] - 30 < whole / 3


def test_sizes_have_no_velocity() -> None:
    motion = Motion.begin(square(30))
    for side in (18, 16, 14, 12):
        motion = motion.predict(0.1).update(ONE, square(30, side=side))
    assert (motion.velocities[:, 2:] == 0).all()
    assert motion.predict(5.0).places[0, 2] == motion.places[0, 2] < 20


def test_boxes_do_not_know_of_each_other() -> None:
    both = Motion.begin(np.concatenate([square(30), square(80, side=40)])).predict(0.1)
    both = both.update(np.array([1]), square(84, side=40))
    alone = Motion.begin(square(80, side=40)).predict(0.1).update(ONE, square(84, side=40))
    np.testing.assert_allclose(both.take(np.array([1])).variances, alone.variances)
    np.testing.assert_allclose(both.boxes[0], square(30)[0])


def test_add_and_take() -> None:
    both = Motion.begin(square(30)).add(Motion.begin(square(80)))
    np.testing.assert_array_equal(both.take(np.array([1])).boxes, square(80))


def test_a_picture_twice_as_wide() -> None:
    motion = follow([30, 32, 34], 0.1)
    scaled = motion.scale(2, 1)
    np.testing.assert_allclose(scaled.boxes, motion.boxes * [2, 1, 2, 1])
    assert scaled.velocities[0, 0] == 2 * motion.velocities[0, 0]
    np.testing.assert_allclose(scaled.variances[0, 0], 4 * motion.variances[0, 0])


def test_a_point_is_followed() -> None:
    motion = Motion.begin(square(30, side=0)).predict(0.1).update(ONE, square(31, side=0))
    assert np.isfinite(motion.variances).all()
    assert 30 < motion.places[0, 0] <= 31
