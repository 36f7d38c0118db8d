"""What a network is deployed for."""

import pytest

import nas.space
from nas.config.settings import DeploySettings
from nas.errors import ConfigError
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (((64,), 4, 5), "input"),
        (((64, 0), 4, 5), "input"),
        (((64, 96), 0, 5), "init_channels"),
        (((64, 96), 4, True), "num_classes"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(arguments, key):
    with pytest.raises(ConfigError, match=rf"^deploy\.{key}: got "):
        Deployment(*arguments)


def test_sides_come_as_a_tuple_and_under_the_name_that_spaces_of_other_packages_read():
    deployment = Deployment([64, 96], 4, 5)
    assert deployment.input == deployment.input_size == (64, 96)
    assert nas.space.Shape is Deployment


def test_settings_say_what_is_deployed_and_the_space_and_the_data_say_the_rest():
    space = SEARCH_SPACES["squeezenas_small"].build(SEARCH_SPACES["squeezenas_small"].config())
    assert DeploySettings().deployment(space, 5, size=[64, 96]) == Deployment((64, 96), space.deploy_channels, 5)
    assert DeploySettings(input=[32, 48], init_channels=8).deployment(space, 5, size=[64, 96]) == Deployment((32, 48), 8, 5)
