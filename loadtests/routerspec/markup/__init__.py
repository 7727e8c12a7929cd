"""Text laid out and made harmless: terminals, tables, Markdown, XML.

Decides how text of a router, a prompt or a target file is escaped, once for each format. Refuses to
know any report.
"""
