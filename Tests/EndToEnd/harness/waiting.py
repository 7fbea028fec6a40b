"""Waiting with an end."""

import threading
import time
from typing import Any, Callable


def eventually(condition: Callable[[], Any], seconds: float = 20, what: str = "the condition") -> Any:
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def within(seconds: float, call: Callable[..., Any], *arguments: Any) -> Any:
    """The call's result or exception; fails when it takes longer. A call that hangs in the kernel ends when the mount
    that it hangs in is torn down."""
    box: dict[str, Any] = {}

    def body():
        try:
            box["result"] = call(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            box["error"] = error

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"{getattr(call, '__name__', call)}{arguments}: hangs, longer than {seconds} s"
    if "error" in box:
        raise box["error"]
    return box["result"]
