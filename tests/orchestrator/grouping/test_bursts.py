"""Pictures that one camera took within seconds."""

from consilience.core.exif import Shot
from consilience.orchestrator.grouping.bursts import MOST, bursts


def shots(*seconds: float | None, camera: str = "EOS") -> list[Shot]:
    return [Shot(camera, moment) for moment in seconds]


def test_pictures_within_seconds_are_a_burst_whatever_their_order() -> None:
    assert bursts(shots(4.0, 100.0, 0.0, 101.5, 2.0, 200.0)) == [[2, 4, 0], [1, 3]]


def test_each_camera_has_bursts_of_its_own() -> None:
    assert bursts(shots(0.0, 2.0) + shots(1.0, camera="X100")) == [[0, 1]]


def test_without_camera_or_time_nothing_is_known() -> None:
    assert bursts(shots(0.0, 0.0, camera="") + shots(None, None)) == []
    assert bursts([]) == []


def test_a_machine_that_never_stops_takes_no_bursts() -> None:
    assert bursts(shots(*map(float, range(MOST + 1)))) == []
    assert bursts(shots(*map(float, range(MOST)))) == [[*range(MOST)]]


def test_pictures_of_the_same_second_are_a_burst() -> None:
    assert bursts(shots(5.0, 5.0, 5.0)) == [[0, 1, 2]]
