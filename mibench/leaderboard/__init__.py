"""The leaderboard: a pure function of a suite's file and its records. It loads no plugin and no torch.

``frame`` makes one row of each record. ``board`` chooses a suite's rows and summarises them with ``summaries`` and
``controls``. ``columns``, ``tables`` and ``details`` turn that into tables as data, which ``markdown`` and ``plots`` show.
"""
