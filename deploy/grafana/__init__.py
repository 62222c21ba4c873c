"""The dashboards, as programs that write their JSON."""
