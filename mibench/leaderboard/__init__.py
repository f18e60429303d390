"""The leaderboard: from a suite's file and its records to pages and pictures.

``frame`` makes one row of each record. ``board`` chooses a suite's rows and summarises them with ``summaries`` and
``controls``. ``columns``, ``tables`` and ``details`` turn that into tables as data, which ``markdown`` and
``plots`` show. ``pictures`` draws stored samples; it alone loads torch.
"""
