"""``python -m tests.security``: the attacks alone, and the table of what came of them."""

import sys
from pathlib import Path

import pytest

sys.exit(pytest.main(["-q", "--no-header", str(Path(__file__).parent / "test_attacks.py"), *sys.argv[1:]]))
