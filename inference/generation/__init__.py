"""From a spectrum without candidates to molecules: search, mass, re-ranking, consensus."""
