"""From a cell to its record: make models, attack them, measure their samples."""
