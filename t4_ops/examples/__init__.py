"""What the example DAGs and flows compute; the extra `demo` brings what they need."""
