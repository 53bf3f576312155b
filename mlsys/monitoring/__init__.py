"""What became of models: why they forecast what they do, how right they were once actuals arrived, and when that got worse."""
