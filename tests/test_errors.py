import inspect

import pytest

from silkline import errors
from silkline.errors import (
    ERRORS_BY_CODE,
    EXIT,
    HTTP_FACES,
    CapacityError,
    ConfigError,
    EnvironmentFault,
    ImageTooLarge,
    InputError,
    InternalFault,
    SilklineError,
    exit_code,
    http_face,
)


def leaves() -> list[type[SilklineError]]:
    classes = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    tree = [value for value in classes if issubclass(value, SilklineError)]
    parents = {base for value in tree for base in value.__bases__}
    return [value for value in tree if value not in parents]


def test_every_error_that_a_client_can_see_has_a_face_of_its_own() -> None:
    shown = {leaf for leaf in leaves() if issubclass(leaf, InputError | CapacityError)}
    assert shown | {InternalFault} == set(HTTP_FACES)
    assert len({face.code for face in HTTP_FACES.values()}) == len(HTTP_FACES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for error, face in HTTP_FACES.items():
        assert any(
            error.__name__ in line and str(face.status) in line and face.code in line
            for line in drawn.splitlines()
        ), error


@pytest.mark.parametrize("code", ERRORS_BY_CODE)
def test_a_code_leads_back_to_its_error(code: str) -> None:
    assert http_face(ERRORS_BY_CODE[code]("what happened")).code == code


def test_input_errors_are_4xx_and_capacity_errors_what_clients_try_again() -> None:
    for error, face in HTTP_FACES.items():
        if issubclass(error, InputError):
            assert face.status // 100 == 4
        elif issubclass(error, CapacityError):
            assert face.status in {409, 429, 503, 504, 507}


def test_an_error_outside_the_table_is_internal() -> None:
    assert http_face(ConfigError("wrong")).status == 500


def test_exit_codes() -> None:
    assert exit_code(ConfigError("wrong")) == EXIT.usage
    assert exit_code(EnvironmentFault("missing", remedy="pip install x")) == EXIT.environment
    assert exit_code(ImageTooLarge("large")) == EXIT.failed


def test_a_remedy_is_part_of_the_message() -> None:
    assert EnvironmentFault("No engine.", remedy="pip install x").message.endswith(
        "Run: pip install x"
    )
