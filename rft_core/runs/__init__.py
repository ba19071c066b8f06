"""What a run is made of: its directory, its stages, sampling, evaluation, recovery and summary."""
