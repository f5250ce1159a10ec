"""What exists at the start is no longer walked by the garbage collector."""

import gc
import weakref

from silkline.observe.heap import YOUNG_OBJECTS, freeze_heap


class Node:
    """Part of a cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_exists_is_exempt_and_what_comes_later_is_collected() -> None:
    kept, dead = Node(), weakref.ref(Node())
    threshold = gc.get_threshold()
    try:
        freeze_heap()
        assert dead() is None  # garbage of the start is freed before
        assert gc.get_freeze_count() > 0
        assert not any(one is kept for one in gc.get_objects())
        later = weakref.ref(Node())
        gc.collect()
        assert later() is None
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
