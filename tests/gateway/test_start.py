"""What a gateway loads when it starts."""

import subprocess
import sys
from pathlib import Path

START = """
import sys
from pathlib import Path
import honeyguard.__main__, honeyguard.gateway.commands
from honeyguard.gateway.config import Config
from honeyguard.gateway.launch import application
application(Config(state=sys.argv[2]), Path(sys.argv[1]))
print(*sorted({"torch", "sklearn", "datasets", "plotly"} & set(sys.modules)))
"""


def test_a_guarded_folder_is_served_without_pytorch(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", START, folder, tmp_path / "state"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
