"""What commands share that answer without a server: the gateway's one path, in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from itertools import islice
from pathlib import Path

from silkline.cache.create import create_cache
from silkline.config import Settings
from silkline.errors import InvalidRequest
from silkline.ingress.intake import Intake
from silkline.ingress.source import Source, parse_url, uploaded
from silkline.ingress.wanted import Wanted
from silkline.service.answering import Answering
from silkline.service.create import create_answering
from silkline.service.loader import ModelLoader
from silkline.service.model import OnProgress
from silkline.service.pool import OnNotice, ignore, wanted_images, why_chosen


def create_intake(settings: Settings) -> Intake:
    """The intake that the settings describe; not started."""
    wanted = [wanted_images(model) for model in settings.served.values()]
    keeps_both = Wanted.PIXELS_AND_FILE in wanted
    return Intake(settings.limits, settings.fetch, settings.decode, keeps_both=keeps_both)


@asynccontextmanager
async def open_answering(
    settings: Settings, intake: Intake, on_notice: OnNotice, on_progress: OnProgress = ignore
) -> AsyncGenerator[Answering, None]:
    """Answers with the first model of the settings, and the images of a started intake.

    Args:
        settings: What is wanted.
        intake: Loads the images.
        on_notice: Called with why `auto` passed over an engine.
        on_progress: Called with what is being done until the engines start, from another thread.

    Raises:
        ConfigError: The model is unknown, its files are damaged, or a remote's key is missing.
        EnvironmentFault: No engine is installed, or it does not start.
    """
    first = dict(islice(settings.served.items(), 1))
    first |= {one.base: settings.served[one.base] for one in first.values() if one.base}
    models = await ModelLoader(settings.admission).models(first, on_progress)
    for model in models:
        if why := why_chosen(model.prepared.choice):
            on_notice(why)
    async with aclosing(models):
        await models.start()
        async with aclosing(create_cache(settings.cache)) as cache:
            yield create_answering(settings, models, intake=intake, cache=cache)


def read_image(path: str, max_bytes: int, *, param: str) -> Source:
    """A file's bytes, or where to fetch them; one byte too many says that a file is too large.

    Raises:
        InvalidRequest: The file cannot be read, or the URL is none.
        UrlBlocked: The URL is malformed or has another scheme.
    """
    if "://" in path:
        return parse_url(path, param=param)
    try:
        with Path(path).open("rb") as file:
            return uploaded(file.read(max_bytes + 1), param=param)
    except OSError as error:
        raise InvalidRequest(f"The picture cannot be read: {error.strerror}.") from error
