"""Where units run: in this process, or on Ray."""
