"""What surrounds an agent: runner, run folder, checkpoints, configuration, recording, command line."""
