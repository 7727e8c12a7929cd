"""Reports: verdict -> text, each pure. Refuse to judge anything again."""
