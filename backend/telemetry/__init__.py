"""Metrics, traces and logs. A leaf: anyone may call it, it calls nobody."""
