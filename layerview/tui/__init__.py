"""The terminal UI: a face over the domain, built on Textual; nothing else imports it."""
