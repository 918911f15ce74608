"""hotlap's way into the user's process: this folder stands first on PYTHONPATH.

It maps the package `hotlap` by path, so that nothing else of hotlap's environment reaches the user's; waits for torch;
and hands over to the `sitecustomize` that would have run without it.
"""

import os
import sys


def _chain(here: str) -> None:
    """Run the next `sitecustomize` on the path as if this one did not exist."""
    import importlib.machinery
    import importlib.util

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _enter(here: str) -> None:
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(here + os.sep))))
    import importlib.machinery

    class Finder:
        """Finds the package `hotlap` by path; its submodules follow from the package."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            if name != "hotlap":
                return None
            return importlib.machinery.PathFinder.find_spec(name, [source])

    sys.meta_path.insert(0, Finder)  # type: ignore[arg-type]
    from hotlap.inside import bootstrap

    bootstrap.enter()


_here = os.path.dirname(os.path.abspath(__file__))
try:
    if os.environ.get("HOTLAP_TASK"):
        _enter(_here)
except Exception as error:  # the user's run comes first
    print(f"hotlap: could not get inside this process: {error!r}", file=sys.stderr)
_chain(_here)
