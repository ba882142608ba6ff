"""Sum up the stories of records again, after the summing up has changed: python tools/headlines.py results/attacks/*.json

The measurements stay what they are; `summarised` says with which commit the summary and the headline were made.
"""

import json
import sys
from pathlib import Path

from honeyguard.benchmark.summary import headline, summary
from honeyguard.folders import write_json
from honeyguard.repro import revision

for path in map(Path, sys.argv[1:]):
    record = json.loads(path.read_text(encoding="utf-8"))
    if "stories" in record:
        figures = {"headline": headline(record["stories"]), "summary": summary(record["stories"])}
        if any(record[name] != new for name, new in figures.items()):
            write_json(path, record | figures | {"summarised": revision()})
