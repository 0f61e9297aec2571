"""A service that is watched while everything happens to it that dashboards and alerts are about."""
