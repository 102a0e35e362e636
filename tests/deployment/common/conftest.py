import pytest
from signed_log import ValidLog


@pytest.fixture(scope="module")
def valid_log(tmp_path_factory: pytest.TempPathFactory) -> ValidLog:
    return ValidLog(tmp_path_factory.mktemp("log"))
