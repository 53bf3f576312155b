"""The sample data shipped with mlsys: measured PV power with weather, and the definition of a model for it (see README.md here).

Files only, and where they lie. No code that reads them belongs here.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
