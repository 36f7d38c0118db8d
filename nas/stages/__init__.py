"""The stages of the work: one file a verb, each an outline of what the verb does."""
