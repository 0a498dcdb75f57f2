"""The fixtures of the end-to-end tests, for faults. Loaded by path: both files are called conftest."""

import importlib.util
from pathlib import Path

SHARED = Path(__file__).resolve().parents[1] / "e2e" / "conftest.py"
spec = importlib.util.spec_from_file_location("e2e_conftest", SHARED)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
globals().update({name: value for name, value in vars(module).items() if not name.startswith("__")})
