"""The leaderboard: a pure function of a suite's file and its records. It loads no plugin and no torch."""
