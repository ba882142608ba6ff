"""Suites: what is protected, stolen and judged; run seed by seed and recorded."""
