"""A parent process for tests: launches what its standard input says, prints the ending as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from hotlap.trials.launch import Launch, Tier, launch

request = json.loads(sys.stdin.read())
for name in ("cwd", "folder"):
    request[name] = Path(request[name])
for name in ("shielded", "writable"):
    request[name] = tuple(Path(path) for path in request.get(name, ()))
request["command"] = tuple(request["command"])
request["tier"] = Tier(request["tier"])
try:
    print(json.dumps(asdict(launch(Launch(**request)))), flush=True)
except KeyboardInterrupt:
    print('"interrupted"', flush=True)
