"""Where the tests find model files."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "models"
SUITE = ROOT.parent / "shared" / "models_suite"
needs_suite = pytest.mark.skipif(
    not SUITE.is_dir(), reason=f"the third-party models are not at {SUITE}"
)
