"""mlsys: train, check, promote, use, watch and explain forecasting models, in one process."""

__version__ = "0.1.0"
