"""Where tests find the checkout, its data for tests, and the modules that tests share."""

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
DATA = ROOT / "tests" / "data"
