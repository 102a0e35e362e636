import pytest

from teledx_fed.federation import flower


@pytest.mark.slow
def test_the_installed_release_of_flower_has_every_private_name() -> None:
    pytest.importorskip("ray")
    missing = [name for name in flower.MODULES if not hasattr(flower, name)]
    assert missing == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no NoSuchName"):
        _ = flower.NoSuchName
