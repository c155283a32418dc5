"""Who is called a second time."""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission import reinvocation
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authn.users import User
from navarch.apiserver.served import Catalog


def write() -> Attributes:
    return Attributes(User("admin"), Catalog().of("", "configmaps"), "CREATE", "a", "n", core_v1.ConfigMap(data={"k": "v"}), None)


def rounds(attributes: Attributes, *, asks: bool = True) -> reinvocation.Round:
    """The first round, in which one was called that changed nothing."""
    first = reinvocation.of(attributes, "plugin")
    first.begin(attributes)
    assert not first.leaves_out(attributes, "one")
    if asks:
        first.called("one")
    first.end(attributes)
    return first


def second(attributes: Attributes) -> reinvocation.Round:
    attributes.reinvocation.running = True
    found = reinvocation.of(attributes, "plugin")
    found.begin(attributes)
    return found


def test_a_change_in_place_between_the_rounds_is_seen() -> None:
    """Built-in plugins change the object as it stands: it is the same object, with another text."""
    attributes = write()
    rounds(attributes)
    attributes.obj.data["more"] = "w"
    assert not second(attributes).leaves_out(attributes, "one")


def test_nobody_is_called_again_for_nothing_nor_for_the_first_time() -> None:
    attributes = write()
    rounds(attributes)
    assert second(attributes).leaves_out(attributes, "one")
    changed = write()
    rounds(changed)
    changed.obj.data["more"] = "w"
    assert second(changed).leaves_out(changed, "another")


def test_who_does_not_ask_for_it_is_not_called_again() -> None:
    attributes = write()
    rounds(attributes, asks=False)
    attributes.obj.data["more"] = "w"
    assert second(attributes).leaves_out(attributes, "one")


def test_whoever_was_called_before_one_that_changed_something_is_called_again() -> None:
    attributes = write()
    first = reinvocation.of(attributes, "plugin")
    first.begin(attributes)
    first.called("one")
    first.changed(attributes)
    first.called("two")
    first.end(attributes)
    assert attributes.reinvocation.wanted
    again = second(attributes)
    assert not again.leaves_out(attributes, "one") and again.leaves_out(attributes, "two")
