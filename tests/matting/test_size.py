import pytest

from birefnet_core.matting.size import dynamic_size, fit_inside, network_size


@pytest.mark.parametrize(
    ("size", "spec_size", "expected"),
    [
        (1024, (512, 512), (1024, 1024)),
        ((2560, 1440), (512, 512), (2560, 1440)),
        ([640, 360], (512, 512), (640, 352)),
        (None, (2560, 1440), (2560, 1440)),
        (1000, None, (992, 992)),
        (1008, None, (1024, 1024)),
        (1, None, (32, 32)),
        (None, None, (640, 480)),
    ],
)
def test_network_size(size, spec_size, expected):
    assert network_size(size, spec_size, (650, 470)) == expected


@pytest.mark.parametrize("size", [0, -32, (512, 0), (512,), (1, 2, 3), 512.0, "512", True, (512, None)])
def test_a_size_that_is_none_is_named(size):
    with pytest.raises(ValueError, match="size must be a positive integer or a pair") as raised:
        network_size(size, (512, 512), (100, 100))
    assert repr(size) in str(raised.value)


@pytest.mark.parametrize("size", [10**9, (512, 16385)])
def test_a_size_beyond_reason_is_named(size):
    with pytest.raises(ValueError, match=r"size must be at most 16384 pixels a side, not .*\d"):
        network_size(size, (512, 512), (100, 100))
    assert network_size(16384, None, (100, 100)) == (16384, 16384)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ((1000, 700), (992, 704)),
        ((4000, 3000), (2304, 1728)),
        ((100, 200), (256, 512)),
        ((1, 1), (256, 256)),
        ((20000, 100), (2304, 256)),
        ((50, 9000), (256, 2304)),
    ],
)
def test_dynamic_size(picture, expected):
    assert dynamic_size(picture) == expected


@pytest.mark.parametrize(
    ("picture", "box", "expected"),
    [
        ((1920, 1080), (1024, 1024), (1024, 576)),
        ((1080, 1920), (1024, 1024), (576, 1024)),
        ((100, 100), (2560, 1440), (1440, 1440)),
        ((5000, 10), (1024, 1024), (1024, 32)),
    ],
)
def test_fit_inside(picture, box, expected):
    assert fit_inside(picture, box) == expected
