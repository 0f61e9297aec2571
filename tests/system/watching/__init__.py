"""Watches a service while everything happens that dashboards and alerts are meant to show."""
