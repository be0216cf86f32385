"""Running a chain one stage at a time: no more than one graph, or a part of one, is in memory."""
