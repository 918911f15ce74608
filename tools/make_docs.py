#!/usr/bin/env python3
"""Write docs/knobs.md and docs/audits.md from docstrings, and say which errors have no paragraph in docs/errors.md.

tools/make_docs.py           write
tools/make_docs.py --check   fail when something is stale or missing
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, DOCS = ROOT / "src", ROOT / "docs"
KNOBS_MD, AUDITS_MD, ERRORS_MD = DOCS / "knobs.md", DOCS / "audits.md", DOCS / "errors.md"
KEBAB = re.compile(r"[a-z]+(-[a-z]+)+")

HEAD = """\
# Knobs

Every change that hotlap tries, in its four areas. This page is generated from the knobs themselves by
`tools/make_docs.py`; `hotlap explain ID` shows the same.
"""

TAIL = """\
## What is not here, and why

- **Physical cores only, interoperation threads, CUDA's lazy loading**: `threads` and `thread-pinning` do the first; the
  others change nothing in a steady step.
- **Larger micro-batches with fewer accumulations**: the loop, its losses and its counters are the script's, and two of
  its turns cannot be made one without changing what it sees. `hotlap race` tries other batch sizes, openly.
- **A compiled update**: a learning rate that is a number compiles it again with every change, and one that is a tensor
  changes the script's objects.
- **float8**: not written. It needs another package (torchao), compilation, and products of several thousand in each
  dimension to pay; no model that was measured here has them.
- **Inductor's options for CPUs**: not written. They refine a compilation that pays; on the three examples none did, on
  24 residual blocks one gained 1.27x (docs/measured.md), and no option was tried on that. Neither are coordinate
  descent, skipped guards, a budget for activations and the chunker of large heads, which all refine one as well.
- **`capturable` updates, plain `max-autotune`**: the first is for a CUDA graph of a whole step, which cannot be laid
  over a script's own loop; the second is `max-autotune-no-cudagraphs` with the graphs of `reduce-overhead`.
- **`no_sync` while gradients accumulate**: it belongs around the script's own backward calls.
- **cuDNN's `benchmark_limit`**: how many algorithms are timed for a new shape, once; a steady step does not change.
- **Another OpenMP, instruction set or BLAS** (Intel's runtime, oneDNN's or MKL's switches, cuBLAS workspaces, float
  types of Arm's kernels): a second OpenMP in one process is known to hang and to crash, and the libraries' own choice
  is the right one but where a processor is misjudged.
- **Another kernel in the place of the script's** (FlashAttention 3, fused heads and losses, einsum paths, reductions in
  lower precision): each needs a package or a change of the model, which is the script's.
- **Sharded trainings** (FSDP), Apple's and Intel's GPUs: nothing of hotlap was measured on them.
- **Allocator settings beyond expandable segments** (garbage collection threshold, rounding, largest split): they help
  against a fragmented memory, which `expandable-segments` is for; none is known to make a step faster that has room.
"""

AUDITS_HEAD = """\
# Audits

What `hotlap check` and `hotlap tune` look for in one observed run. An audit changes nothing: it says what
is wasted or wrong, and what to change. This page is generated from the audits themselves by `tools/make_docs.py`;
`hotlap explain ID` shows the same.
"""

AUDITS_TAIL = """\
## What is not here, and why

- **What a knob can change and the tune can measure** (TF32, worker counts, compilation, an allocator) is tried and not
  preached: a finding without a measurement is a guess.
- **A waste in milliseconds everywhere**: it is given where the time itself was seen (waiting for data, the update, the
  collector, costly calls). What a step would take with another attention or another shape was not seen.
- **Learning rates, leaking test data, wrong labels, bad initial weights**: one short run cannot show them.
- **Retries of CUDA's allocator, recurrent weights that are not flattened**: torch warns of both itself.
- **An all-reduce for every micro-batch, stragglers**, and what else only several processes show: so far only a training
  in one process is observed.
- **Low arithmetic intensity**: `hotlap check --model` shows it per module, beside the machine's own limits.
- **A GPU that is throttled or shared**: clocks and other processes are not looked at; they show as noise.
"""


def knobs_page() -> str:
    """The page, from what `hotlap explain` says."""
    sys.path.insert(0, str(SOURCE))
    from hotlap.explain import markdown
    from hotlap.knobs import all_knobs

    knobs = all_knobs()
    parts = [HEAD]
    for area in ("data", "model", "optimizer", "hardware"):
        parts.append(f"## Area: {area}\n")
        parts += [markdown(knob, level=3) for knob in knobs if knob.area == area]
    return "\n".join([*parts, TAIL])


def audits_page() -> str:
    """The same of the audits."""
    from hotlap.audits import all_audits
    from hotlap.explain import audit_markdown

    parts = [AUDITS_HEAD]
    for area in ("data", "model", "optimizer", "hardware"):
        parts.append(f"## Area: {area}\n")
        parts += [audit_markdown(audit, level=3) for audit in all_audits() if audit.area == area]
    return "\n".join([*parts, AUDITS_TAIL])


def slugs(folder: Path = SOURCE) -> dict[str, str]:
    """Every slug that a HotlapError is raised with, and where.

    Where the first argument is a name, the slug comes from a table: then every kebab-case text in a tuple counts.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args and _makes_error(node)]
        holders = [node.args[0] for node in calls]
        if any(isinstance(holder, ast.Name) for holder in holders):
            holders += [part for node in ast.walk(tree) if isinstance(node, ast.Tuple) for part in node.elts]
        for part in (part for holder in holders for part in ast.walk(holder)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and KEBAB.fullmatch(part.value):
                found.setdefault(part.value, f"{path.relative_to(folder)}:{part.lineno}")
    return found


def _makes_error(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "HotlapError"


def missing_paragraphs() -> dict[str, str]:
    """Slugs without a heading and a text in docs/errors.md."""
    texts: dict[str, str] = {}
    for section in ERRORS_MD.read_text(encoding="utf-8").split("\n## ")[1:] if ERRORS_MD.exists() else []:
        heading, _, text = section.partition("\n")
        texts[heading.strip()] = text.strip()
    return {slug: where for slug, where in slugs().items() if not texts.get(slug)}


def main() -> int:
    """Write or check; the exit code is 1 when something is stale or missing."""
    check, bad = "--check" in sys.argv[1:], False
    for path, page in ((KNOBS_MD, knobs_page()), (AUDITS_MD, audits_page())):
        if not check:
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            print(f"{path.relative_to(ROOT)} is stale: run tools/make_docs.py")
            bad = True
    for slug, where in missing_paragraphs().items():
        print(f"docs/errors.md has no paragraph for {slug} ({where})")
        bad = True
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
