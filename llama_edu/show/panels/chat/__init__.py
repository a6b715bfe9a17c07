"""ChatPanel: `talker` holds the conversation, `controls` are the fields and buttons."""
