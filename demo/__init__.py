"""The demonstration: ``make demo``. A real server, real processes, real weather; nothing is acted."""
