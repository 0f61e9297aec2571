"""Redis behind the ports of shared logs and rates: one server, a cluster, or Sentinels."""
