"""What each operator must return, and arguments for it: a file of this folder for each kernel."""

from importlib import import_module
from pkgutil import iter_modules

from tests.ops.textbook import Known

#: Every operator by name.
KNOWN: dict[str, Known] = {}
for _module in iter_modules(__path__):
    KNOWN |= import_module(f"{__name__}.{_module.name}").KNOWN
